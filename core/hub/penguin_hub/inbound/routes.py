"""Providers' own address, `/api/webhooks/{plugin}/{connection_id}`, and `/inbound`, where a tenant sees what came."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, Parameter

from penguin_hub.http.guards import requires
from penguin_hub.http.paging import Cursor, Limit, Offset, Order, Page, Pager
from penguin_hub.http.principal import Principal
from penguin_hub.inbound.schemas import InboundDetail, InboundSummary, State
from penguin_hub.inbound.service import InboundService

TAGS = ["Inbound"]
GUARDS = [requires("manage_webhooks")]
MAX_BODY = 1024 * 1024
"""Bytes of a provider's request."""

RequestId = Annotated[str, Parameter(description="A request's id, `inb_...`.", max_length=64)]


@post(
    "/api/webhooks/{plugin:str}/{connection_id:str}",
    operation_id="receiveProviderWebhook",
    tags=TAGS,
    summary="Where providers post",
    status_code=200,
    request_max_body_size=MAX_BODY,
    include_in_schema=False,
)
async def receive(
    plugin: FromPath[str],
    connection_id: FromPath[str],
    request: Request[Any, Any, Any],
    inbound: NamedDependency[InboundService],
) -> Response[bytes]:
    """Verified by the provider's own scheme instead of a key. 2xx: stored. 401: not the provider's. 5xx: try again."""
    query = request.scope["query_string"].decode("latin-1")
    answer = await inbound.receive(
        plugin,
        connection_id,
        method=request.method,
        path=request.scope["path"] + (f"?{query}" if query else ""),
        headers=[(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.scope["headers"]],
        body=await request.body(),
    )
    return Response(answer.body, status_code=answer.status, media_type=answer.content_type)


@get("/inbound", guards=GUARDS, tags=TAGS, operation_id="listInbound", summary="List requests of providers")
async def list_inbound(
    principal: NamedDependency[Principal],
    inbound: NamedDependency[InboundService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    order: Order = "desc",
    connection: Annotated[str | None, Parameter(description="Only to this connection.", max_length=64)] = None,
    status: Annotated[State | None, Parameter(description="Only requests in this state.")] = None,
) -> Page[InboundSummary]:
    """The newest first, unless you say otherwise."""
    paging = pager.paging(
        tenant=principal.tenant,
        route="inbound",
        limit=limit,
        offset=offset,
        cursor=cursor,
        order=order,
        filters={"connection": connection, "status": status},
    )
    return await inbound.page(principal.tenant, paging, connection_id=connection, state=status)


@get(
    "/inbound/{request_id:str}", guards=GUARDS, tags=TAGS, operation_id="getInbound", summary="Get a provider's request"
)
async def get_inbound(
    request_id: RequestId, principal: NamedDependency[Principal], inbound: NamedDependency[InboundService]
) -> InboundDetail:
    """As it came, without its credentials."""
    return await inbound.get(principal.tenant, request_id)


@post(
    "/inbound/{request_id:str}/reprocess",
    guards=GUARDS,
    tags=TAGS,
    operation_id="reprocessInbound",
    summary="Process a provider's request again",
    status_code=202,
)
async def reprocess_inbound(
    request_id: RequestId, principal: NamedDependency[Principal], inbound: NamedDependency[InboundService]
) -> InboundSummary:
    """By the plugin as it is now. Effects that it had already are not had twice."""
    return await inbound.reprocess(principal.tenant, request_id)


routes = [list_inbound, get_inbound, reprocess_inbound]
provider_routes = [receive]
