"""What PostgreSQL and Valkey have in common: one folder, one process, started, watched and stopped the same way."""

import asyncio
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from penguin_hub.platform.embedded import account
from penguin_hub.platform.embedded.errors import StartupError
from penguin_hub.platform.embedded.folder import DataFolder
from penguin_hub.platform.embedded.process import POLL_SECONDS, ended, gone, holders, spawn

START_SECONDS = 300.0
"""Recovery after a crash may have much to replay."""
LOG_BYTES = 8 * 2**20
_SENTENCES = (
    ("No space left on device", "The disk is full: free some space and start the hub again."),
    ("could not create shared memory", "The system has too little shared memory for PostgreSQL: give it more."),
    ("Cannot allocate memory", "The system has too little memory: free some and start the hub again."),
)


class Server(ABC):
    """An embedded server of one data folder. The caller holds the folder's lock."""

    name: ClassVar[str]
    title: ClassVar[str]
    program: ClassVar[str]
    """The name of its processes."""
    stop_signal: ClassVar[signal.Signals]
    """Ends it cleanly."""
    hurry_signal: ClassVar[signal.Signals]
    """Ends it at once, in a way that its next start repairs."""

    def __init__(self, home: DataFolder) -> None:
        self.home = home
        self.folder = home.path / self.name
        self.log = home.path / f"{self.name}.log"
        self.account = account.for_folder(self.folder)
        self.sockets = home.sockets(self.account)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients reach it, with the password: never logged."""

    @property
    @abstractmethod
    def pid_file(self) -> Path:
        """There while the server runs, or when it did not end cleanly."""

    @abstractmethod
    async def prepare(self) -> None:
        """Make the folder when it is not there; refuse one that cannot be used."""

    @abstractmethod
    def command(self, folder: str, sockets: str) -> Sequence[str]: ...

    def configuration(self, folder: str, sockets: str) -> bytes:
        """What the server reads from its standard input."""
        del folder, sockets
        return b""

    @abstractmethod
    async def is_ready(self, process: subprocess.Popen[bytes]) -> bool: ...

    async def start(self) -> None:
        """Start it and wait until it answers. Raises StartupError with what its log says."""
        await self.end_left_over()
        await self.prepare()
        offset = self._open_log()
        process = self.process = self._spawn()
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self.is_ready(process):
                    if process.poll() is not None:
                        raise self.explain(self.log_since(offset))
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise StartupError(
                f"{self.title} does not become ready within {START_SECONDS:.0f} s: {self.log} says what it is doing."
            ) from None

    async def stop(self, seconds: float = 10) -> None:
        """End it cleanly, and harder when it takes longer than that."""
        process, self.process = self.process, None
        if process is None:
            return
        for how in (self.stop_signal, self.hurry_signal, signal.SIGKILL):
            process.send_signal(how)
            if await ended(process, seconds):
                return

    async def end_left_over(self) -> None:
        """End what a killed hub left running on this folder; raises StartupError when it cannot be ended."""
        if not self.pid_file.exists():
            return
        for how in (self.stop_signal, self.hurry_signal, signal.SIGKILL, None):
            left = holders(self.program, self.folder)
            if not left:
                # Its process id may be another program's by now, which a server would take for itself.
                self.pid_file.unlink(missing_ok=True)
                return
            if how is not None:
                self._signal_left_over(left, how)
                await gone(self.program, self.folder, 10)
        left = holders(self.program, self.folder)
        raise StartupError(f"{self.title} still runs on {self.folder} and cannot be ended: end the processes {left}.")

    def log_since(self, offset: int) -> list[str]:
        with self.log.open("rb") as file:
            file.seek(offset)
            return file.read(64 * 1024).decode(errors="replace").splitlines()

    def explain(self, lines: Iterable[str]) -> StartupError:
        """The sentence for a server that ended instead of starting."""
        said = [line for line in lines if line.strip()]
        for words, sentence in _SENTENCES:
            if any(words in line for line in said):
                return StartupError(sentence)
        return StartupError(
            f"{self.title} cannot start on {self.folder}: {self.reason(said)}. If the folder is damaged, put it back "
            f"from a backup, or move it away to begin anew. {self.log} has the details."
        )

    def reason(self, said: Sequence[str]) -> str:
        """The line of the log that matters most."""
        return said[-1].strip().rstrip(".") if said else "it says nothing"

    def _open_log(self) -> int:
        """Where this start's part of the log begins."""
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        return self.log.stat().st_size

    def _spawn(self) -> subprocess.Popen[bytes]:
        with account.handed_over(self.account, self.folder, self.sockets) as handed, self.log.open("ab") as log:
            return spawn(
                self.command(*handed.paths),
                self.account,
                handed.descriptors,
                reads=self.configuration(*handed.paths),
                output=log,
                on_parent_end=self.stop_signal,
            )

    def _signal_left_over(self, left: Sequence[int], how: signal.Signals) -> None:
        """Only the main process is asked to stop, as long as there is one; its children follow it."""
        main = self.pid_file.read_text().split("\n", 1)[0].strip() if self.pid_file.exists() else ""
        chosen = [int(main)] if main.isdigit() and int(main) in left and how is not signal.SIGKILL else left
        for pid in chosen:
            with suppress(ProcessLookupError):
                os.kill(pid, how)
