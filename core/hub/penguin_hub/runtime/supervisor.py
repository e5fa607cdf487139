"""Keeps the parts of a hub running, and ends them in order."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from penguin_hub.platform.embedded.errors import StartupError

log = structlog.get_logger(__name__)

FIRST_DELAY = 0.05
LONGEST_DELAY = 10.0
STEADY_SECONDS = 30.0
"""A part that ran for this long and then ends is started again as if for the first time."""


class Part(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def process(self) -> subprocess.Popen[bytes] | None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class Supervisor:
    """Parts are ended in the reverse of the order they were added in."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._since: dict[str, float] = {}
        self._delays: dict[str, float] = {}
        self._repairs: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._ending = False

    def add(self, part: Part) -> None:
        """From now on `run` keeps it running and `stop` ends it."""
        self._parts.append(part)
        self._since[part.name] = time.monotonic()

    def end(self) -> None:
        """Make `run` return. May be called from a signal handler."""
        self._ending = True
        self._wake.set()

    def first_ended(self) -> str | None:
        """The name of a part that is no longer running."""
        for part in self._parts:
            if part.process is not None and part.process.poll() is not None:
                return part.name
        return None

    async def run(self) -> None:
        """Start again whatever ends, until `end` is called."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._wake.set)
        try:
            while not self._ending:
                self._wake.clear()
                for part in self._parts:
                    self._look_at(part)
                await self._wake.wait()
        finally:
            loop.remove_signal_handler(signal.SIGCHLD)

    async def stop(self) -> None:
        repairs = list(self._repairs.values())
        for task in repairs:
            task.cancel()
        await asyncio.gather(*repairs, return_exceptions=True)
        for part in reversed(self._parts):
            log.info("stopping", part=part.name)
            await part.stop()

    def _look_at(self, part: Part) -> None:
        if part.process is None or part.name in self._repairs:
            return
        code = part.process.poll()
        if code is None:
            return
        log.warning("ended, starting it again", part=part.name, pid=part.process.pid, how=_how(code))
        task = asyncio.create_task(self._repair(part), name=f"repair {part.name}")
        self._repairs[part.name] = task
        task.add_done_callback(lambda _: self._repaired(part))

    async def _repair(self, part: Part) -> None:
        while True:
            await asyncio.sleep(self._next_delay(part))
            self._since[part.name] = time.monotonic()
            try:
                await part.start()
            except (StartupError, OSError) as error:
                log.error("cannot be started", part=part.name, why=str(error))
            else:
                log.info("started again", part=part.name, pid=part.process.pid if part.process else None)
                return

    def _repaired(self, part: Part) -> None:
        del self._repairs[part.name]
        self._wake.set()  # it may have ended again meanwhile

    def _next_delay(self, part: Part) -> float:
        """Doubles with each end that comes soon after the start."""
        steady = time.monotonic() - self._since[part.name] >= STEADY_SECONDS
        delay = FIRST_DELAY if steady else self._delays.get(part.name, FIRST_DELAY)
        self._delays[part.name] = min(LONGEST_DELAY, delay * 2)
        return delay


async def together(parts: Sequence[Part]) -> None:
    """Start them side by side; when one cannot be started the others have finished starting before its error rises."""
    for outcome in await asyncio.gather(*(part.start() for part in parts), return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _how(code: int) -> str:
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name
