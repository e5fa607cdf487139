"""`/marketplace/plugins`."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import Parameter
from penguin_hub.connections.service import ConnectionsService
from penguin_hub.http.guards import any_key
from penguin_hub.http.paging import Cursor, Limit, Offset, Order, Page, Pager
from penguin_hub.http.principal import Principal
from penguin_hub.plugins.service import PluginsService
from penguin_hub_sdk.manifest import Category

from penguin_hub_marketplace import service
from penguin_hub_marketplace.schemas import Detail, Listing

TAGS = ["Marketplace"]


@get(
    "/marketplace/plugins",
    guards=[any_key],
    tags=TAGS,
    operation_id="listMarketplacePlugins",
    summary="Browse the marketplace",
)
async def list_listings(
    principal: NamedDependency[Principal],
    plugins: NamedDependency[PluginsService],
    connections: NamedDependency[ConnectionsService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    order: Order = "asc",
    q: Annotated[str | None, Parameter(max_length=100, description="Words of the name or the summary.")] = None,
    category: Annotated[Category | None, Parameter(description="Only this category.")] = None,
) -> Page[Listing]:
    """What can be connected here, by name."""
    paging = pager.paging(
        tenant=principal.tenant,
        route="marketplace/plugins",
        limit=limit,
        offset=offset,
        cursor=cursor,
        sort_by="name",
        order=order,
        filters={"q": q, "category": category},
    )
    return await service.page(principal.tenant, plugins, connections, paging, q=q, category=category)


@get(
    "/marketplace/plugins/{plugin_id:str}",
    guards=[any_key],
    tags=TAGS,
    operation_id="getMarketplacePlugin",
    summary="Look at a plugin",
)
async def get_listing(
    plugin_id: Annotated[str, Parameter(description="A plugin's id.", max_length=64)],
    principal: NamedDependency[Principal],
    plugins: NamedDependency[PluginsService],
    connections: NamedDependency[ConnectionsService],
) -> Detail:
    """With its manifest, its configuration's JSON Schema, and what its author says about it."""
    return await service.detail(principal.tenant, plugin_id, plugins, connections)


routes = [list_listings, get_listing]
