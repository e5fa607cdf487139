"""`penguin serve --workers N`: several API processes on one port."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from penguin_hub.runtime.child import Child
from penguin_hub.runtime.supervisor import Supervisor, together
from penguin_hub.runtime.up import API_STOP_SECONDS


async def serve(count: int, data: Path, host: str, port: int, environ: Mapping[str, str]) -> None:
    """Run them until SIGTERM or SIGINT. The kernel shares connections out among them (SO_REUSEPORT)."""
    supervisor = Supervisor()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, supervisor.end)
    command = ("serve", "--data", str(data), "--host", host, "--port", str(port), "--reuse-port")
    children = [Child(f"api-{n}", command, environ, stop_seconds=API_STOP_SECONDS) for n in range(1, count + 1)]
    try:
        for child in children:
            supervisor.add(child)
        await together(children)
        await supervisor.run()
    finally:
        # All at once: each of them may need a while to answer what it has begun.
        await asyncio.gather(*(child.stop() for child in children))
        await supervisor.stop()
