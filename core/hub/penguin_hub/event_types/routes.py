"""`/event-types`: what events there are, and what they carry."""

from typing import Annotated

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, Parameter

from penguin_hub.event_types.schemas import EventType, NewEventType, Origin, ReplacedEventType
from penguin_hub.event_types.service import EventTypesService
from penguin_hub.http.guards import requires
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Cursor, Limit, Offset, Order, Page, Pager
from penguin_hub.http.principal import Principal

TAGS = ["Event types"]
GUARDS = [requires("manage_webhooks")]

Name = Annotated[str, Parameter(description="A type, such as `invoice.paid`.", max_length=128)]


@get("/event-types", guards=GUARDS, tags=TAGS, operation_id="listEventTypes", summary="List event types")
async def list_event_types(
    principal: NamedDependency[Principal],
    event_types: NamedDependency[EventTypesService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    order: Order = "asc",
    origin: Annotated[Origin | None, Parameter(description="Only the hub's own, or only yours.")] = None,
) -> Page[EventType]:
    """The hub's own and yours, by name: each with the JSON Schema of its data and an example."""
    paging = pager.paging(
        tenant=principal.tenant,
        route="event-types",
        limit=limit,
        offset=offset,
        cursor=cursor,
        sort_by="name",
        order=order,
        filters={"origin": origin},
    )
    return await event_types.page(principal.tenant, paging, origin=origin)


@post(
    "/event-types",
    guards=GUARDS,
    tags=TAGS,
    operation_id="createEventType",
    summary="Describe an event type",
    opt={"idempotent": True},
)
async def create_event_type(
    data: JSONBody[NewEventType],
    principal: NamedDependency[Principal],
    event_types: NamedDependency[EventTypesService],
    once: NamedDependency[Once],
) -> EventType:
    """From now on, events of this type are published only with data that fits the schema."""
    return await event_types.create(principal, data, once)


@get(
    "/event-types/{event_type:str}",
    guards=GUARDS,
    tags=TAGS,
    operation_id="getEventType",
    summary="Get an event type",
)
async def get_event_type(
    event_type: Name, principal: NamedDependency[Principal], event_types: NamedDependency[EventTypesService]
) -> EventType:
    """One of the hub's own, or one of yours."""
    return await event_types.get(principal.tenant, event_type)


@put(
    "/event-types/{event_type:str}",
    guards=GUARDS,
    tags=TAGS,
    operation_id="replaceEventType",
    summary="Replace an event type",
)
async def replace_event_type(
    event_type: Name,
    data: JSONBody[ReplacedEventType],
    principal: NamedDependency[Principal],
    event_types: NamedDependency[EventTypesService],
) -> EventType:
    """The version counts up by one; what was published before stays as it is."""
    return await event_types.replace(principal.tenant, event_type, data)


@delete(
    "/event-types/{event_type:str}",
    guards=GUARDS,
    tags=TAGS,
    operation_id="deleteEventType",
    summary="Delete an event type",
)
async def delete_event_type(
    event_type: Name, principal: NamedDependency[Principal], event_types: NamedDependency[EventTypesService]
) -> None:
    """Events of the type are published unchecked from now on."""
    await event_types.delete(principal.tenant, event_type)


routes = [list_event_types, create_event_type, get_event_type, replace_event_type, delete_event_type]
