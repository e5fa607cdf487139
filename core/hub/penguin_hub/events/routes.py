"""`/events`: a tenant's own events in, and the log of all."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, Parameter

from penguin_hub.events.schemas import MAX_BATCH, Accepted, AcceptedMany, Event, PublishedEvent
from penguin_hub.events.service import EventsService
from penguin_hub.http.guards import requires
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Cursor, Limit, Offset, Order, Page, Pager
from penguin_hub.http.principal import Principal

TAGS = ["Events"]
GUARDS = [requires("manage_webhooks")]

EventId = Annotated[str, Parameter(description="An event's id, `evt_...`.", max_length=64)]
Batch = Annotated[list[PublishedEvent], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]


@post(
    "/events",
    guards=GUARDS,
    tags=TAGS,
    operation_id="publishEvents",
    summary="Publish events",
    status_code=202,
    opt={"idempotent": True, "max_body": 8 * 1024 * 1024},
    request_max_body_size=8 * 1024 * 1024,
)
async def publish_events(
    data: JSONBody[PublishedEvent | Batch],
    principal: NamedDependency[Principal],
    events: NamedDependency[EventsService],
    once: NamedDependency[Once],
) -> Accepted | AcceptedMany:
    """One event, or an array of up to 1000: all of them are accepted, or none.

    What is accepted is stored with its deliveries and will be delivered at least once to each endpoint that wants it.
    """
    if isinstance(data, PublishedEvent):
        return await events.publish_one(principal, data, once)
    return await events.publish_many(principal, data, once)


@get("/events", guards=GUARDS, tags=TAGS, operation_id="listEvents", summary="List events")
async def list_events(
    principal: NamedDependency[Principal],
    events: NamedDependency[EventsService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    order: Order = "desc",
    type: Annotated[
        str | None, Parameter(description="Only this type, or a family such as `email.*`.", max_length=128)
    ] = None,
    workspace: Annotated[str | None, Parameter(description="Only of this workspace.", max_length=64)] = None,
    subject: Annotated[
        str | None, Parameter(description="Only about this thing, by its id or `ordering_key`.", max_length=128)
    ] = None,
    since: Annotated[datetime | None, Parameter(description="Only what was published at this moment or later.")] = None,
    until: Annotated[datetime | None, Parameter(description="Only what was published before this moment.")] = None,
) -> Page[Event]:
    """The newest first, unless you say otherwise; without the bodies."""
    filters = {"type": type, "workspace": workspace, "subject": subject, "since": since, "until": until}
    paging = pager.paging(
        tenant=principal.tenant,
        route="events",
        limit=limit,
        offset=offset,
        cursor=cursor,
        order=order,
        filters=filters,
    )
    return await events.page(
        principal.tenant, paging, type=type, workspace=workspace, subject=subject, since=since, until=until
    )


@get("/events/{event_id:str}", guards=GUARDS, tags=TAGS, operation_id="getEvent", summary="Get an event")
async def get_event(
    event_id: EventId, principal: NamedDependency[Principal], events: NamedDependency[EventsService]
) -> Event:
    """With the body that is delivered."""
    return await events.get(principal.tenant, event_id)


@delete(
    "/events/{event_id:str}/body", guards=GUARDS, tags=TAGS, operation_id="expungeEvent", summary="Expunge a payload"
)
async def expunge_event(
    event_id: EventId, principal: NamedDependency[Principal], events: NamedDependency[EventsService]
) -> None:
    """Forget what the event carried. That it happened, and its attempts, stay; it cannot be sent again."""
    await events.expunge(principal.tenant, event_id)


routes = [publish_events, list_events, get_event, expunge_event]
