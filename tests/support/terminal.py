"""A terminal in which the commands of a page are typed, one block after the other."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil


class Shell:
    """One bash with `set -euo pipefail`, so that a command that fails ends it."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder

    async def run(self, code: str) -> str:
        """What a block prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{{\n{code}\n}} </dev/null\nprintf '\\0'\n".encode())
        try:
            async with asyncio.timeout(90):
                said = await self._process.stdout.readuntil(b"\0")
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            complaint = (self._folder / "errors.txt").read_text()
            raise AssertionError(f"{type(error).__name__} in:\n{code}\n{complaint}") from None
        return said[:-1].decode()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self._process.pid).children(recursive=True)


@asynccontextmanager
async def shell(folder: Path) -> AsyncIterator[Shell]:
    """In that folder. Whatever it started is ended with it."""
    with (folder / "errors.txt").open("w") as errors:
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-euo",
            "pipefail",
            cwd=folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    opened = Shell(process, folder)
    children: list[psutil.Process] = []
    try:
        yield opened
    finally:
        with suppress(psutil.Error):
            children = opened.children()
        for child in children:
            with suppress(psutil.Error):
                child.send_signal(signal.SIGKILL)
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def documents(text: str) -> list[Any]:
    """The JSON documents that stand one after the other, as curl prints them."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        document, at = decoder.raw_decode(text, at)
        found.append(document)
    return found
