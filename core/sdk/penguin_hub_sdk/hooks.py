"""The whole extension contract. A plugin is a distribution with one entry point:

    [project.entry-points."penguin_hub.plugins"]
    acme = "penguin_hub_acme"

and in that module one hook implementation that returns a value:

    @hookimpl
    def hub_plugin() -> Plugin[Settings]:
        return Plugin(manifest=Manifest.load(__package__), config=Settings, connect=Acme)

Nothing happens on import: no I/O, no thread, no registration. The hub calls `hub_plugin` once, checks the value, and
makes a connector (`connect(ctx)`) for each connection a tenant has.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec
import pluggy

from penguin_hub_sdk.config import Config
from penguin_hub_sdk.connectors import Connector
from penguin_hub_sdk.context import Context
from penguin_hub_sdk.errors import PluginError
from penguin_hub_sdk.manifest import Manifest
from penguin_hub_sdk.webhooks import Webhook

NAMESPACE: Final = "penguin_hub"
ENTRY_POINTS: Final = "penguin_hub.plugins"

hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)

C = TypeVar("C", bound=Config)


class Plugin(msgspec.Struct, Generic[C], frozen=True, kw_only=True):
    """What a plugin is."""

    manifest: Manifest
    config: type[C]
    connect: Callable[[Context[C]], Connector]
    """Usually the connector's class. Cheap, and without I/O: it is called for each connection."""
    webhook: Webhook | None = None
    """How the provider's requests to us are verified and understood; None when it sends none."""
    errors: Mapping[int, type[PluginError]] = {}
    """HTTP status -> what it means at this provider, over the SDK's own table (`http.ERRORS`)."""


@hookspec(firstresult=True)
def hub_plugin() -> Plugin[Any] | None:
    """Return the plugin. Called once, after import; must not block or do I/O."""
