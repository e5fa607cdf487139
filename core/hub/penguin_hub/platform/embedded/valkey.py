"""Valkey 9 in the data folder. What it holds is a hint and can be made again from PostgreSQL."""

import asyncio
import signal
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from penguin_hub.platform.embedded import account, binaries
from penguin_hub.platform.embedded.errors import StartupError
from penguin_hub.platform.embedded.folder import DataFolder
from penguin_hub.platform.embedded.server import Server

SOCKET = "valkey.sock"
# Words of Valkey's log about a file of its own that it cannot read.
_DAMAGED = (
    "Bad file format reading the append only file",
    "Unexpected end of file reading",
    "Wrong signature trying to load",
    "Internal error in RDB reading",
    "AOF manifest file",
)


class Valkey(Server):
    name: ClassVar[str] = "valkey"
    title: ClassVar[str] = "Valkey"
    program: ClassVar[str] = "valkey-server"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    hurry_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, home: DataFolder, password: str) -> None:
        super().__init__(home)
        self._password = password

    @property
    def url(self) -> str:
        return f"unix://:{quote(self._password, safe='')}@{quote(str(self.sockets / SOCKET))}"

    @property
    def pid_file(self) -> Path:
        return self.folder / "valkey.pid"

    def command(self, folder: str, sockets: str) -> Sequence[str]:
        del folder, sockets
        return (binaries.valkey(self.account), "-")

    def configuration(self, folder: str, sockets: str) -> bytes:
        """Read from standard input, so that the password is in no command line and no file but ours."""
        return "\n".join(
            (
                "port 0",
                f'unixsocket "{sockets}/{SOCKET}"',
                "unixsocketperm 700",
                f'dir "{folder}"',
                f'pidfile "{folder}/{self.pid_file.name}"',
                f'requirepass "{self._password}"',
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "maxmemory-policy noeviction",
                "loglevel notice",
                "",
            )
        ).encode()

    async def prepare(self) -> None:
        account.make_folder(self.folder, self.account)

    async def start(self) -> None:
        try:
            await super().start()
        except StartupError:
            # Nothing is lost by beginning with an empty one, and a hub that stands still loses more.
            if not self._is_damaged():
                raise
            moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            self.folder.rename(self.folder.with_name(f"valkey.damaged-{moment}"))
            await super().start()

    async def is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        del process
        try:
            reader, writer = await asyncio.open_unix_connection(self.sockets / SOCKET)
        except OSError:
            return False
        try:
            writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
            return (await reader.readline(), await reader.readline()) == (b"+OK\r\n", b"+PONG\r\n")
        except OSError:
            return False
        finally:
            writer.close()

    def _is_damaged(self) -> bool:
        recent = self.log_since(max(0, self.log.stat().st_size - 4096))
        return any(words in line for line in recent for words in _DAMAGED)
