"""PostgreSQL 18 in the data folder."""

import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from penguin_hub.platform.embedded import account, binaries
from penguin_hub.platform.embedded.errors import StartupError
from penguin_hub.platform.embedded.folder import DataFolder
from penguin_hub.platform.embedded.process import ended, spawn
from penguin_hub.platform.embedded.server import Server

USER = DATABASE = "penguin"
INIT_SECONDS = 120.0

# Durable first; then sized for a small machine that runs other things too.
OPTIONS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}
# Built-in collation: the same order on every system, whatever its C library's locales are.
_INITDB = (
    *("--auth", "scram-sha-256", "--pwfile", "/dev/stdin", "--encoding", "UTF8", "--no-locale"),
    *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions"),
)
# A log line of these levels says why a start failed.
_FATAL = ("PANIC:", "FATAL:")


class Postgres(Server):
    """`options` overrides OPTIONS (the test suite's servers give up durability for speed)."""

    name: ClassVar[str] = "postgres"
    title: ClassVar[str] = "PostgreSQL"
    program: ClassVar[str] = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # fast shutdown: sessions end, a checkpoint is written
    hurry_signal: ClassVar[signal.Signals] = signal.SIGQUIT  # immediate shutdown: the next start recovers from WAL

    def __init__(self, home: DataFolder, password: str, *, options: Mapping[str, str] | None = None) -> None:
        super().__init__(home)
        self._password = password
        self._options = {**OPTIONS, **(options or {})}

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{quote(self._password, safe='')}@/{DATABASE}?host={quote(str(self.sockets))}"

    @property
    def pid_file(self) -> Path:
        return self.folder / "postmaster.pid"

    def command(self, folder: str, sockets: str) -> Sequence[str]:
        options = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        return (binaries.postgres(self.account).postgres, "-D", folder, "-k", sockets, *options)

    async def prepare(self) -> None:
        if not self.folder.exists():
            await self._initialise()
        version = self.folder / "PG_VERSION"
        found = version.read_text().strip() if version.exists() else None
        if found != str(binaries.POSTGRES_MAJOR):
            what = (
                "is not a PostgreSQL data folder, or is damaged" if found is None else f"was made by PostgreSQL {found}"
            )
            raise StartupError(
                f"{self.folder} {what}; this hub runs PostgreSQL {binaries.POSTGRES_MAJOR}. Put the folder back from a "
                "backup, or move it away to begin anew."
            )

    async def is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """As pg_ctl sees it: the eighth line of postmaster.pid is the server's state."""
        try:
            lines = self.pid_file.read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready"

    def reason(self, said: Sequence[str]) -> str:
        for level in _FATAL:
            for line in said:
                if level in line:
                    return line.split(level, 1)[1].strip()
        return super().reason(said)

    async def _initialise(self) -> None:
        """A new cluster with one superuser and one database, made aside and renamed once it is whole."""
        unfinished = self.folder.with_name("postgres.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        account.make_folder(unfinished, self.account)
        programs = binaries.postgres(self.account)
        await self._run(unfinished, (programs.initdb, "--username", USER, *_INITDB), self._password)
        # Single-user mode asks for no password and needs no socket.
        single = (programs.postgres, "--single", "-c", "exit_on_error=on")
        await self._run(unfinished, single, f"CREATE DATABASE {DATABASE}", "postgres")
        unfinished.rename(self.folder)

    async def _run(self, folder: Path, command: Sequence[str], text: str, *last: str) -> None:
        offset = self._open_log()
        with account.handed_over(self.account, folder) as handed, self.log.open("ab") as log:
            process = spawn(
                (*command, "-D", *handed.paths, *last),
                self.account,
                handed.descriptors,
                reads=f"{text}\n".encode(),
                output=log,
                on_parent_end=signal.SIGKILL,
            )
        try:
            if not await ended(process, INIT_SECONDS):
                raise StartupError(
                    f"PostgreSQL cannot make its data folder within {INIT_SECONDS:.0f} s: is the disk very slow?"
                )
        finally:
            process.kill()  # does nothing to a process that has ended
        if process.returncode != 0:
            raise self.explain(self.log_since(offset))
