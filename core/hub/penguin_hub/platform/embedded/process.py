"""Processes of the embedded servers: started as another account, ended, and found again."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from penguin_hub.platform.embedded.account import Account, die_with_parent

POLL_SECONDS = 0.01
# Nothing of the caller's environment matters to the servers, and none of its secrets should be theirs.
ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "TZ": "UTC"}


def spawn(
    command: Sequence[str],
    owner: Account | None,
    descriptors: Sequence[int],
    *,
    reads: bytes,
    output: IO[bytes],
    on_parent_end: signal.Signals,
) -> subprocess.Popen[bytes]:
    """Start a program as that account, in a session of its own: Ctrl-C reaches the hub, which ends things in order.

    `reads` is its whole standard input: a few hundred bytes, which a pipe holds without a reader.
    """
    read_end, write_end = os.pipe()
    try:
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(reads)
        if owner is not None:
            os.fchown(read_end, owner.uid, owner.gid)  # so that it may be opened by name, as /dev/stdin
        return subprocess.Popen(  # noqa: S603 -- the command is made here, no part of it comes from outside
            command,
            stdin=read_end,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=None if owner is None else owner.uid,
            group=None if owner is None else owner.gid,
            extra_groups=None if owner is None else [],
            pass_fds=tuple(descriptors),
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            preexec_fn=die_with_parent(on_parent_end),  # noqa: PLW1509 -- two system calls; the hub has no threads here
        )
    finally:
        os.close(read_end)


async def ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it ends within that time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while process.poll() is None:
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


async def gone(program: str, folder: Path, seconds: float) -> bool:
    """Whether that program no longer runs on the folder within that time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while holders(program, folder):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def holders(program: str, folder: Path) -> list[int]:
    """The program's processes that work in the folder: both servers make their data folder their current one."""
    import psutil  # noqa: PLC0415 -- takes 30 ms, and is needed only after a crash

    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == program and os.path.samefile(process.cwd(), folder):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or somebody else's
    return found
