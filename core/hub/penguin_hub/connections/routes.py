"""`/connections`. Only owners, admins and admin keys: whoever configures a provider can send as the tenant."""

from typing import Annotated, Literal

from litestar import Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, Parameter

from penguin_hub.connections.schemas import CheckResult, Connection, ConnectionChange, NewConnection, Status
from penguin_hub.connections.service import ConnectionsService
from penguin_hub.http.etags import IfMatch, etag, expected_version
from penguin_hub.http.guards import admin_only
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Cursor, Limit, Offset, Order, Page, Pager
from penguin_hub.http.principal import Principal

TAGS = ["Connections"]
GUARDS = [admin_only]

ConnectionId = Annotated[str, Parameter(description="A connection's id, `cnx_...`.", max_length=64)]


def _one(connection: Connection, status_code: int = 200) -> Response[Connection]:
    return Response(connection, status_code=status_code, headers={"ETag": etag(connection.version)})


@get("/connections", guards=GUARDS, tags=TAGS, operation_id="listConnections", summary="List connections")
async def list_connections(
    principal: NamedDependency[Principal],
    connections: NamedDependency[ConnectionsService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    sort_by: Annotated[Literal["created_at", "updated_at"], Parameter(description="The order.")] = "created_at",
    order: Order = "desc",
    plugin: Annotated[str | None, Parameter(max_length=64, description="Only connections to this plugin.")] = None,
    status: Annotated[Status | None, Parameter(description="Only connections of this status.")] = None,
) -> Page[Connection]:
    """The newest first, unless you say otherwise."""
    paging = pager.paging(
        tenant=principal.tenant,
        route="connections",
        limit=limit,
        offset=offset,
        cursor=cursor,
        sort_by=sort_by,
        order=order,
        filters={"plugin": plugin, "status": status},
    )
    return await connections.page(principal, paging, plugin=plugin, status=status)


@post(
    "/connections",
    guards=GUARDS,
    tags=TAGS,
    operation_id="createConnection",
    summary="Connect a plugin",
    opt={"idempotent": True},
)
async def create_connection(
    data: JSONBody[NewConnection],
    principal: NamedDependency[Principal],
    connections: NamedDependency[ConnectionsService],
    once: NamedDependency[Once],
) -> Response[Connection]:
    """The provider is asked whether the configuration works before anything is saved: 422 `connection_check_failed`
    when it does not, with a pointer to the field. Secrets are never shown again."""
    return _one(await connections.create(principal, data, once), 201)


@get(
    "/connections/{connection_id:str}",
    guards=GUARDS,
    tags=TAGS,
    operation_id="getConnection",
    summary="Get a connection",
)
async def get_connection(
    connection_id: ConnectionId,
    principal: NamedDependency[Principal],
    connections: NamedDependency[ConnectionsService],
) -> Response[Connection]:
    """One connection; its ETag is what If-Match takes."""
    return _one(await connections.get(principal, connection_id))


@patch(
    "/connections/{connection_id:str}",
    guards=GUARDS,
    tags=TAGS,
    operation_id="updateConnection",
    summary="Change a connection",
)
async def update_connection(
    connection_id: ConnectionId,
    data: JSONBody[ConnectionChange],
    principal: NamedDependency[Principal],
    connections: NamedDependency[ConnectionsService],
    if_match: IfMatch = None,
) -> Response[Connection]:
    """What the body leaves out stays as it is, secrets too. A changed configuration is checked with the provider first;
    requests that the provider signs with the old secrets are taken for another 24 hours."""
    return _one(await connections.change(principal, connection_id, data, expected_version(if_match)))


@delete(
    "/connections/{connection_id:str}",
    guards=GUARDS,
    tags=TAGS,
    operation_id="deleteConnection",
    summary="Delete a connection",
)
async def delete_connection(
    connection_id: ConnectionId,
    principal: NamedDependency[Principal],
    connections: NamedDependency[ConnectionsService],
    if_match: IfMatch = None,
) -> None:
    """Its secrets are destroyed. Messages that wait to be sent through it fail."""
    await connections.delete(principal, connection_id, expected_version(if_match))


@post(
    "/connections/{connection_id:str}/test",
    guards=GUARDS,
    tags=TAGS,
    operation_id="testConnection",
    summary="Test a connection",
    status_code=200,
)
async def test_connection(
    connection_id: ConnectionId,
    principal: NamedDependency[Principal],
    connections: NamedDependency[ConnectionsService],
) -> CheckResult:
    """Asks the provider now. 200 also when it does not work: `ok` says so, and `error` why."""
    return await connections.check(principal.tenant, connection_id)


@get(
    "/connections/{connection_id:str}/checks",
    guards=GUARDS,
    tags=TAGS,
    operation_id="listConnectionChecks",
    summary="List a connection's checks",
)
async def list_checks(
    connection_id: ConnectionId,
    principal: NamedDependency[Principal],
    connections: NamedDependency[ConnectionsService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    order: Order = "desc",
) -> Page[CheckResult]:
    """What the regular checks of the last 30 days found."""
    paging = pager.paging(
        tenant=principal.tenant,
        route=f"connections/{connection_id}/checks",
        limit=limit,
        offset=offset,
        cursor=cursor,
        sort_by="at",
        order=order,
    )
    return await connections.checks(principal, connection_id, paging)


routes = [
    list_connections,
    create_connection,
    get_connection,
    update_connection,
    delete_connection,
    test_connection,
    list_checks,
]
