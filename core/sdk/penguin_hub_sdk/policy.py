"""What one connection's HTTP may do, as data: hosts, pace, and what each status means."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from penguin_hub_sdk import _hosts
from penguin_hub_sdk.addresses import Network
from penguin_hub_sdk.config import Config
from penguin_hub_sdk.errors import (
    AuthExpired,
    BadAnswer,
    NetworkFailed,
    NotAllowed,
    PluginError,
    ProviderFailed,
    QuotaExceeded,
    RateLimited,
    Rejected,
)
from penguin_hub_sdk.manifest import Limits, Manifest

ERRORS: Final[Mapping[int, type[PluginError]]] = {
    401: AuthExpired,
    402: QuotaExceeded,
    403: NotAllowed,
    408: NetworkFailed,
    425: NetworkFailed,
    429: RateLimited,
}
"""HTTP status -> error. Other 4xx: Rejected. 5xx: ProviderFailed. 3xx: BadAnswer, because no redirect is followed."""


class HttpPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may do. Made by the hub from the manifest, the settings and the operator's environment."""

    plugin: str
    hosts: tuple[_hosts.HostPattern, ...]
    errors: Mapping[int, type[PluginError]] = {}
    limits: Limits = Limits(rate=10, burst=10)
    overrides: Mapping[str, str] = {}
    """Host -> base URL of a stand-in; plain http is fine there."""
    allow: tuple[Network, ...] = ()
    """Private ranges the operator has opened."""
    connect_timeout: float = 5.0
    deadline: float = 30.0
    """Seconds for a whole call: waiting for its turn, every try and every byte."""
    max_body: int = 10 * 1024 * 1024
    """Bytes of a decoded answer."""

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        config: Config | None,
        *,
        errors: Mapping[int, type[PluginError]] | None = None,
        overrides: Mapping[str, str] | None = None,
        allow: Iterable[Network] = (),
    ) -> "HttpPolicy":
        """The usual policy of a connection. Raises ConfigInvalid when a `{field}` of `hosts` is not a host."""
        return cls(
            plugin=manifest.id,
            hosts=_hosts.expand(manifest.hosts, config),
            errors=errors or {},
            limits=manifest.limits,
            overrides=overrides or {},
            allow=tuple(allow),
        )

    def error(self, status: int) -> type[PluginError]:
        """What a status that is not 2xx means at this provider."""
        return self.errors.get(status) or ERRORS.get(status) or _family(status)


def _family(status: int) -> type[PluginError]:
    if 400 <= status < 500:
        return Rejected
    return ProviderFailed if status >= 500 else BadAnswer
