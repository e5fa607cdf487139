"""Whether an address can be listened on, asked before anything is started."""

import errno
import socket

from penguin_hub.platform.embedded.errors import StartupError

_SENTENCES = {
    errno.EADDRINUSE: "is in use: stop the program that holds it, or choose another with --port",
    errno.EACCES: "may not be used by this user: choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "is not an address of this machine: choose another with --host",
}


def claim(host: str, port: int) -> int:
    """The port to listen on: `port` itself, or a free one for 0. Raises StartupError when it cannot be had.

    Asked without SO_REUSEPORT: the API listens with it, and two hubs must not share a port unawares.
    """
    if not 0 <= port <= 65535:  # getaddrinfo takes the lower 16 bits
        raise StartupError(f"{port} is not a port: choose one from 0 to 65535 with --port.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except socket.gaierror as error:
        raise StartupError(f"{host} is not a host to listen on: choose another with --host.") from error
    except OSError as error:
        what = _SENTENCES.get(error.errno or 0, f"cannot be listened on ({error.strerror})")
        raise StartupError(f"Port {port} on {host} {what}.") from error


def base_url(host: str, port: int) -> str:
    """The URL by which this machine reaches a server that listens there."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 -- compared, not bound
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"
