"""TCP for connectors that do not speak HTTP (SMTP): a connected socket to a declared, vetted host, and nothing more."""

import socket
from typing import Protocol


class Network(Protocol):
    """`ctx.net`."""

    async def connect(self, host: str, port: int, *, timeout: float = 10.0) -> socket.socket:  # noqa: ASYNC109 - covers the name as well
        """A connected, non-blocking TCP socket; the caller owns and closes it, and speaks TLS over it where needed.

        `host` must be one of the manifest's. Its addresses are resolved and vetted by the hub, and the socket goes to
        the vetted address. `timeout` is in seconds. Raises ConfigInvalid (not declared, or a forbidden address written
        out), NetworkFailed (no such name, a name of something internal, refused, timed out: one text for all).
        """
        ...
