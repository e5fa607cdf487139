"""A hub of many processes on one PostgreSQL and one Valkey, each of which a test may kill, and a few tenants in it."""

import asyncio
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis.asyncio as aioredis
from penguin_hub import settings as settings_module
from penguin_hub.migrate import migrate
from penguin_hub.platform.embedded import DataFolder, Postgres, Valkey
from penguin_hub.platform.embedded.account import die_with_parent
from penguin_hub.settings import Settings

from support import hub as hubs

LEASE = 6.0
"""Seconds of every lease in a cluster's workers; a delivery's deadline is a quarter of it."""
READY_SECONDS = 60.0
# Without fsync an immediate shutdown shows the same: the system's page cache outlives the server. Five processes with
# their pools and listeners want more connections than the hundred of one machine's hub.
_OPTIONS = {"fsync": "off", "max_connections": "250"}
_PART = str(Path(__file__).with_name("part.py"))


class NotReady(Exception):
    """A process ended, or took too long; the text is the end of the log."""


@dataclass
class Part:
    """One process and the command that starts it again."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    said: int = 0
    """How much its log held before this start."""
    wanted: bool = True
    """Whether the cluster starts it again when it ends."""

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class Cluster:
    home: DataFolder
    postgres: Postgres
    valkey: Valkey
    settings: Settings
    environment: dict[str, str]
    logs: Path
    parts: dict[str, Part] = field(default_factory=dict)
    ports: list[int] = field(default_factory=list)
    kills: int = 0
    """How many processes and servers were killed so far."""

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    def part(self, name: str) -> Part:
        return self.parts[name]

    # Processes

    async def serve(self, count: int) -> None:
        """So many API processes, each on its own port."""
        for _ in range(count):
            port = _free_port()
            self.ports.append(port)
            self._add(f"api-{len(self.ports)}", "serve", "--port", str(port))
        await asyncio.gather(*(self.ready(port) for port in self.ports))

    async def work(self, *names: str, window: float | None = None, lease: float | None = LEASE) -> None:
        """Workers of these names, which they send as their User-Agent; they are at work when this returns."""
        for name in names:
            extra = [] if window is None else ["--window", str(window)]
            extra += [] if lease is None else ["--lease", str(lease)]
            extra += ["--poison", str(self.poison)]
            clock = ["--clock", str(self._clock(name))] if self._clock(name).exists() else []
            self._add(name, "worker", "--name", name, *extra, *clock)
        await asyncio.gather(*(self.at_work(name) for name in names))

    def _add(self, name: str, role: str, *arguments: str) -> None:
        command = (sys.executable, "-P", _PART, role, "--data", str(self.home.path), "--armed", str(self.armed))
        part = self.parts[name] = Part(name, (*command, *arguments))
        self.start(part)

    def start(self, part: Part) -> None:
        with self.log_of(part.name).open("ab") as log:
            part.said = log.tell()
            part.process = subprocess.Popen(
                part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 -- a killed test run leaves nothing behind
            )
        part.wanted = True

    def kill(self, name: str) -> None:
        """SIGKILL. It stays dead until somebody starts it (see `reviving`)."""
        part = self.parts[name]
        if part.is_alive and part.process is not None:
            self.kills += 1
            part.process.kill()
            part.process.wait()

    async def end(self, name: str, seconds: float = 40.0) -> int:
        """SIGTERM; returns the exit code. It stays ended."""
        part = self.parts[name]
        part.wanted = False
        assert part.process is not None
        part.process.terminate()
        return await asyncio.to_thread(part.process.wait, seconds)

    async def died(self, *names: str, seconds: float = 20.0) -> str:
        """Wait until one of these is dead by SIGKILL, and nobody has started it again; returns its name."""
        async with asyncio.timeout(seconds):
            while True:
                for name in names:
                    process = self.parts[name].process
                    if process is not None and process.poll() == -signal.SIGKILL:
                        self.kills += 1
                        return name
                await asyncio.sleep(0.01)

    async def remove(self, *names: str) -> None:
        """End these, and forget them."""
        await asyncio.gather(*(self.end(name) for name in names if self.parts[name].is_alive))
        for name in names:
            del self.parts[name]

    @asynccontextmanager
    async def reviving(self) -> AsyncIterator[None]:
        """As a supervisor does it: what ends is started again."""

        async def watch() -> None:
            while True:
                for part in self.parts.values():
                    if part.wanted and not part.is_alive:
                        self.start(part)
                await asyncio.sleep(0.1)

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def ready(self, port: int) -> None:
        """Raises NotReady with what it said."""
        part = self.parts[f"api-{self.ports.index(port) + 1}"]
        end = asyncio.get_running_loop().time() + READY_SECONDS
        while not await asyncio.to_thread(_is_ready, port):
            if not part.is_alive or asyncio.get_running_loop().time() > end:
                raise NotReady(f"{part.name} on port {port}: {self.log_of(part.name).read_text()[-4000:]}")
            await asyncio.sleep(0.05)

    async def at_work(self, name: str) -> None:
        """Wait until a worker says that it has started. Raises NotReady with what it said."""
        part = self.parts[name]
        end = asyncio.get_running_loop().time() + READY_SECONDS
        while "worker_started" not in (said := self.log_of(name).read_text(errors="replace")[part.said :]):
            if not part.is_alive or asyncio.get_running_loop().time() > end:
                raise NotReady(f"{name}: {said[-4000:]}")
            await asyncio.sleep(0.02)

    # Fault points

    @property
    def armed(self) -> Path:
        return self.home.path / "armed"

    def arm(self, point: str) -> None:
        """The first process that passes it dies there."""
        (self.armed / point).touch()

    def disarm(self) -> None:
        for file in self.armed.iterdir():
            file.unlink(missing_ok=True)

    @property
    def poison(self) -> Path:
        """While it is there, workers die of providers' requests that hold its text."""
        return self.home.path / "poison"

    # Clocks

    def _clock(self, name: str) -> Path:
        return self.home.path / f"clock-{name}"

    def set_clock(self, name: str, offset: float) -> None:
        """Its clock goes wrong by so many seconds, now or from its start. The first time it must not be running yet."""
        new = self._clock(name).with_suffix(".new")
        new.write_text(str(offset))
        new.replace(self._clock(name))

    def right_clocks(self) -> None:
        for file in self.home.path.glob("clock-*"):
            file.unlink()

    # Servers

    async def crash_postgres(self) -> None:
        """Immediate shutdown, then recovery from the write-ahead log."""
        process = self.postgres.process
        assert process is not None
        self.kills += 1
        process.send_signal(signal.SIGQUIT)
        await asyncio.to_thread(process.wait, 20)
        await self.postgres.start()

    async def flush_valkey(self) -> None:
        client = aioredis.Redis.from_url(self.valkey.url)
        try:
            await client.flushall()
        finally:
            await client.aclose()

    async def empty_valkey(self) -> None:
        """Killed, and started with nothing of what it held: a restart without persistence."""
        process = self.valkey.process
        assert process is not None
        process.kill()
        await asyncio.to_thread(process.wait, 20)
        shutil.rmtree(self.valkey.folder / "appendonlydir", ignore_errors=True)
        await self.valkey.start()

    def log_of(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def errors(self) -> list[str]:
        """What was logged as our own fault, for which no outage and no death is a reason. (Libraries name a logger.)"""
        lines = [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]
        return [
            f"{line['event']}: {line.get('exception', '')[-1500:]}"
            for line in lines
            if line["level"] in ("error", "critical") and "logger" not in line
        ]

    def text(self) -> str:
        """What all of them said."""
        return "".join(file.read_text(errors="replace") for file in sorted(self.logs.iterdir()))


@asynccontextmanager
async def running(environment: dict[str, str]) -> AsyncIterator[Cluster]:
    """Servers with a migrated database; no process yet. `environment`: more than the hub's ordinary one."""
    folder = Path(tempfile.mkdtemp(prefix="penguin-fault-"))
    home = DataFolder(folder / "data")
    home.prepare()
    home.lock()
    (home.path / "armed").mkdir()
    (folder / "logs").mkdir()
    credentials = home.credentials()
    postgres = Postgres(home, credentials.postgres_password, options=_OPTIONS)
    valkey = Valkey(home, credentials.valkey_password)
    urls = {"DATABASE_URL": postgres.url, "REDIS_URL": valkey.url}
    settings = settings_module.build(
        environment, data=home.path, database_url=urls["DATABASE_URL"], redis_url=urls["REDIS_URL"]
    )
    cluster = Cluster(home, postgres, valkey, settings, {**hubs.environment(environment), **urls}, folder / "logs")
    try:
        await asyncio.gather(postgres.start(), valkey.start())
        await migrate(settings)
        yield cluster
    finally:
        for part in cluster.parts.values():
            if part.is_alive and part.process is not None:
                part.process.kill()
                part.process.wait()
        await asyncio.gather(postgres.stop(), valkey.stop())
        home.forget_sockets()
        home.unlock()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    # Below the range that the kernel gives to outgoing connections, which this machine makes many of meanwhile.
    while True:
        port = random.randint(10_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(json.load(answer)) and answer.status == 200
    except (OSError, urllib.error.HTTPError, ValueError):
        return False
