"""The catalogue: the plugins that this hub has and that can be connected."""

from collections.abc import Mapping
from typing import Any

from penguin_hub.connections.service import ConnectionsService
from penguin_hub.http.paging import Page, Paging
from penguin_hub.plugins.errors import PluginNotFound
from penguin_hub.plugins.schemas import Loaded
from penguin_hub.plugins.service import PluginsService

from penguin_hub_marketplace.schemas import Detail, Listing


async def page(
    tenant: str,
    plugins: PluginsService,
    connections: ConnectionsService,
    paging: Paging,
    *,
    q: str | None = None,
    category: str | None = None,
) -> Page[Listing]:
    """By name. `q`: every word must occur in the id, name or summary."""
    words = (q or "").casefold().split()
    counts = await connections.counts(tenant)
    found = [Listing(**_common(plugin, counts)) for plugin in plugins.active() if _offered(plugin)]
    found = [
        listing
        for listing in found
        if (category is None or listing.category == category)
        and all(word in f"{listing.id} {listing.name} {listing.summary}".casefold() for word in words)
    ]
    found.sort(key=_position, reverse=paging.descending)
    total = len(found)
    if paging.after is not None:
        start = tuple(paging.after)
        found = [item for item in found if (_position(item) < start if paging.descending else _position(item) > start)]
    found = found[paging.offset or 0 :]
    return paging.page(found[: paging.limit + 1], _position, total if paging.offset is not None else None)


async def detail(tenant: str, plugin_id: str, plugins: PluginsService, connections: ConnectionsService) -> Detail:
    """Raises PluginNotFound, also for what is there and cannot be connected."""
    plugin = plugins.get(plugin_id)
    if plugin.plugin is None or not _offered(plugin):
        raise PluginNotFound("There is no such plugin.")
    return Detail(
        **_common(plugin, await connections.counts(tenant)),
        manifest=plugin.plugin.manifest,
        config_schema=plugin.config_schema,
        distribution=plugin.distribution,
        readme=plugin.readme,
    )


def _offered(loaded: Loaded) -> bool:
    """Not what every tenant has anyway, and not what its author has withdrawn."""
    manifest = loaded.plugin.manifest if loaded.plugin else None
    return manifest is not None and not manifest.sandbox and manifest.status != "inactive"


def _common(loaded: Loaded, counts: Mapping[str, int]) -> dict[str, Any]:
    assert loaded.plugin is not None  # noqa: S101 -- for the type checker: `active()` gives no others
    manifest = loaded.plugin.manifest
    return {
        "id": loaded.id,
        "name": manifest.name,
        "version": manifest.version,
        "category": manifest.category,
        "summary": manifest.summary,
        "status": manifest.status,
        "publisher": loaded.publisher,
        "capabilities": loaded.capabilities,
        "connections": counts.get(loaded.id, 0),
    }


def _position(listing: Listing) -> tuple[str, str]:
    return listing.name.casefold(), listing.id
