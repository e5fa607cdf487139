"""`/suppressions`."""

from typing import Annotated, Literal

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, Parameter

from penguin_hub.emails.suppressions.schemas import NewSuppression, Reason, Scope, Suppression
from penguin_hub.emails.suppressions.service import SuppressionsService
from penguin_hub.http.guards import requires
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Cursor, Limit, Offset, Order, Page, Pager
from penguin_hub.http.principal import Principal

TAGS = ["Suppressions"]
GUARDS = [requires("manage_contacts")]


@get("/suppressions", guards=GUARDS, tags=TAGS, operation_id="listSuppressions", summary="List suppressions")
async def list_suppressions(
    principal: NamedDependency[Principal],
    suppressions: NamedDependency[SuppressionsService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    sort_by: Annotated[Literal["created_at"], Parameter(description="The order.")] = "created_at",
    order: Order = "desc",
    email: Annotated[str | None, Parameter(max_length=254, description="Only this address.")] = None,
    reason: Annotated[Reason | None, Parameter(description="Only for this reason.")] = None,
    stream: Annotated[Scope | None, Parameter(description="Only of this stream.")] = None,
) -> Page[Suppression]:
    """Addresses that get no mail. A test key sees and changes the list of test mode, which is a separate one."""
    paging = pager.paging(
        tenant=principal.tenant,
        route="suppressions",
        limit=limit,
        offset=offset,
        cursor=cursor,
        sort_by=sort_by,
        order=order,
        filters={"email": email, "reason": reason, "stream": stream, "environment": principal.environment},
    )
    return await suppressions.page(principal, paging, email=email, reason=reason, stream=stream)


@post("/suppressions", guards=GUARDS, tags=TAGS, operation_id="createSuppression", summary="Suppress an address")
async def create_suppression(
    data: JSONBody[NewSuppression],
    principal: NamedDependency[Principal],
    suppressions: NamedDependency[SuppressionsService],
    once: NamedDependency[Once],
) -> Suppression:
    """Mail to the address is refused from now on, also mail that is queued already.

    409 `suppression_exists` when it is on the list; `suppression_id` names it.
    """
    return await suppressions.create(principal, data, once)


@delete(
    "/suppressions/{suppression_id:str}",
    guards=GUARDS,
    tags=TAGS,
    operation_id="deleteSuppression",
    summary="Lift a suppression",
)
async def delete_suppression(
    suppression_id: Annotated[str, Parameter(description="A suppression's id, `sup_...`.", max_length=64)],
    principal: NamedDependency[Principal],
    suppressions: NamedDependency[SuppressionsService],
) -> None:
    """Mail to the address is tried again. Providers keep lists of their own, which this does not change."""
    await suppressions.delete(principal, suppression_id)


routes = [list_suppressions, create_suppression, delete_suppression]
