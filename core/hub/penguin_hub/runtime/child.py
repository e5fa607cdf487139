"""A process of the hub's own: the API or the worker, started as a command of `penguin`."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from penguin_hub.platform.embedded.account import die_with_parent
from penguin_hub.platform.embedded.process import ended


class Child:
    """It dies with its parent, however that ends: any process of the hub may be killed at any line."""

    def __init__(self, name: str, arguments: Sequence[str], environ: Mapping[str, str], *, stop_seconds: float) -> None:
        self.name = name
        self._arguments = tuple(arguments)
        self._environ = dict(environ)
        self._stop_seconds = stop_seconds
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it; that it is useful yet is for others to find out."""
        self.process = subprocess.Popen(  # noqa: S603, ASYNC220 -- our own interpreter and command; fork takes a moment
            # -P: the folder the hub is started in must not shadow a module.
            (sys.executable, "-P", "-m", "penguin_hub.cli", *self._arguments),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            env=self._environ,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 -- two system calls; there are no threads here
        )

    async def stop(self) -> None:
        """Ask it to finish what it has begun; after `stop_seconds` do not ask."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        if not await ended(process, self._stop_seconds):
            process.kill()
            await asyncio.to_thread(process.wait)
