"""`ctx.net`, as the hub gives it: TCP to declared, vetted hosts."""

import asyncio
import logging
import socket
from collections.abc import Iterable
from typing import Final

from penguin_hub_sdk import _hosts
from penguin_hub_sdk.addresses import Address, AddressRefused, Network, parse_host, resolve, vet
from penguin_hub_sdk.config import Config
from penguin_hub_sdk.errors import ConfigInvalid, NetworkFailed
from penguin_hub_sdk.manifest import Manifest

_log: Final = logging.getLogger(__name__)


class Tcp:
    """One connection's TCP."""

    def __init__(self, manifest: Manifest, config: Config | None, *, allow: Iterable[Network] = ()) -> None:
        """Raises ConfigInvalid when a `{field}` of the manifest's hosts is not a host."""
        self._plugin = manifest.id
        self._hosts = _hosts.expand(manifest.hosts, config)
        self._allow = tuple(allow)

    async def connect(self, host: str, port: int, *, timeout: float = 10.0) -> socket.socket:  # noqa: ASYNC109 - covers the name as well
        """See `network.Network`."""
        try:
            parsed = parse_host(host)
        except AddressRefused as error:
            raise ConfigInvalid(f"{host!r} is not a host name or address: {error}.", field="host") from None
        if not 0 < port < 65536:
            raise ConfigInvalid("A port is a number from 1 to 65535.", field="port")
        if not any(pattern.matches(str(parsed), port, None) for pattern in self._hosts):
            raise ConfigInvalid(f"{host}:{port} is not among the hosts that the plugin {self._plugin!r} declares.")
        if not isinstance(parsed, str) and not vet(parsed, self._allow):
            raise ConfigInvalid(f"{host} is not a public address.", field="host")
        try:
            async with asyncio.timeout(timeout):
                for address in (await resolve(host, port, self._allow))[:4]:
                    found = await _connect(address, port)
                    if found is not None:
                        return found
        except (AddressRefused, TimeoutError) as error:
            # Blocked, unknown, silent: to a tenant they look alike, so that names inside cannot be probed.
            _log.warning("not connected to %r: %s", host, error or "no answer in time")
        raise NetworkFailed(f"{host}:{port} cannot be reached.")


async def _connect(address: Address, port: int) -> socket.socket | None:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    link = socket.socket(family, socket.SOCK_STREAM)
    try:
        link.setblocking(False)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(link, (str(address), port))
    except OSError:
        link.close()
        return None
    except BaseException:
        link.close()
        raise
    return link
