"""The API process: granian, inside this process. The only importer of granian.

Granian's own supervisor would cost a second interpreter (43 MiB) beside each worker; ours is there already
(docs/decisions/0004-asgi-server.md).
"""

import asyncio
import signal

import structlog
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from penguin_hub.asgi import create_app
from penguin_hub.platform.embedded.errors import StartupError
from penguin_hub.settings import Settings

log = structlog.get_logger(__name__)

BACKLOG = 1024


def run(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered first.

    Raises StartupError when the address cannot be listened on, and whatever the application raises at its start.
    """
    uvloop.run(_serve(settings, host, port))


async def _serve(settings: Settings, host: str, port: int) -> None:
    app = create_app(settings)
    server = Server(
        app,
        address=host,
        port=port,
        # The application's start and end are awaited here and not by granian, so that their errors rise.
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        log_enabled=False,
    )
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        app.state.end_waits()
        server.stop()  # type: ignore[no-untyped-call] # granian's server is not annotated

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with app.lifespan():
        log.info("listening", host=host, port=port)
        try:
            await server.serve()
        except OSError as error:
            raise StartupError(f"Port {port} on {host} cannot be listened on: {error}.") from error
        if not stopped.is_set():
            raise StartupError("The API server ended by itself.")
        log.info("stopped")
