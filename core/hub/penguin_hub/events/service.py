"""Publishing: an event and the deliveries it causes, in the caller's transaction; then a wake-up for the workers."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from penguin_hub.events import store
from penguin_hub.events.errors import DuplicateEvent, EventNotFound, EventTooLarge
from penguin_hub.events.schemas import MAX_DATA, Accepted, AcceptedMany, Envelope, Event, NewEvent, PublishedEvent
from penguin_hub.events.wake import Wake
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Page, Paging
from penguin_hub.http.principal import Principal
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Connection, Database, Record
from penguin_hub.platform.errors import Invalid

CHANNEL = "deliveries"


class Routed(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the engine that chooses its endpoints sees it."""

    id: str
    type: str
    workspace: str | None
    tags: Sequence[str]
    test: bool
    subject: str | None
    """Whose order is kept where an endpoint asks for order."""
    data: Mapping[str, Any] | msgspec.Raw


class Router(Protocol):
    """Who wants which event. The delivery feature is one; events know nothing else of it."""

    async def route(self, connection: Connection, tenant: str, events: Sequence[Routed]) -> Sequence[store.DeliveryRow]:
        """For each delivery: its id, the endpoint, the event's id, the event's type, the key whose order it keeps."""
        ...


class Publication(msgspec.Struct, frozen=True):
    """A tenant's event before it is stored. `pointer` is its place in the request."""

    type: str
    data: bytes
    pointer: str


class Catalogue(Protocol):
    """What the data of a type must look like. The event_types feature is one."""

    async def check(self, connection: Connection, tenant: str, events: Sequence[Publication]) -> None:
        """Raises Invalid."""
        ...


class EventsService:
    """One for the process. Without a `catalogue` every event is published as it is."""

    def __init__(self, database: Database, router: Router, catalogue: Catalogue | None = None) -> None:
        self._database = database
        self._router = router
        self._catalogue = catalogue
        self.wake = Wake(database, CHANNEL)

    async def add(self, connection: Connection, tenant: str, event: NewEvent) -> str:
        """Store an event with its deliveries in the caller's transaction; returns its id (`evt_...`)."""
        return (await self.add_many(connection, tenant, (event,)))[0]

    async def add_many(self, connection: Connection, tenant: str, events: Sequence[NewEvent]) -> list[str]:
        """Many at once, in their order. A `message_id` must have been reserved by the caller (see `_publish`)."""
        if not events:
            return []
        return await self._append(connection, tenant, events, [ids.new("evt") for _ in events])

    async def add_directed(
        self, connection: Connection, tenant: str, event: NewEvent, delivery: Callable[[str], tuple[str, str]]
    ) -> str:
        """An event for one endpoint alone, whatever others want: `delivery` makes (delivery id, endpoint) of its id."""
        number = ids.new("evt")
        delivery_id, endpoint = delivery(number)
        await store.append(
            connection, tenant, [_row(event, number)], [(delivery_id, endpoint, number, event.type, None)]
        )
        self.wake.after(connection)
        return number

    async def publish_one(self, principal: Principal, event: PublishedEvent, once: Once) -> Accepted:
        """A tenant's own event. Raises DuplicateEvent, EventTooLarge, Invalid, what the catalogue and `once` raise."""
        _check(event, "#")
        async with self._database.tenant(principal.tenant) as connection:
            await once.begin(connection)
            await self._fit(connection, principal.tenant, [Publication(event.type, bytes(event.data), "#")])
            accepted = (await self._publish(connection, principal, [event]))[0]
            await once.keep(connection, accepted, status=202)
        return accepted

    async def publish_many(self, principal: Principal, events: Sequence[PublishedEvent], once: Once) -> AcceptedMany:
        """All of them or none. Raises as `publish_one`."""
        for index, event in enumerate(events):
            _check(event, f"#/{index}")
        async with self._database.tenant(principal.tenant) as connection:
            await once.begin(connection)
            await self._fit(
                connection,
                principal.tenant,
                [Publication(event.type, bytes(event.data), f"#/{index}") for index, event in enumerate(events)],
            )
            accepted = AcceptedMany(await self._publish(connection, principal, events))
            await once.keep(connection, accepted, status=202)
        return accepted

    async def _fit(self, connection: Connection, tenant: str, events: Sequence[Publication]) -> None:
        if self._catalogue is not None:
            await self._catalogue.check(connection, tenant, events)

    async def _publish(
        self, connection: Connection, principal: Principal, events: Sequence[PublishedEvent]
    ) -> list[Accepted]:
        tenant = principal.tenant
        numbers = [ids.new("evt") for _ in events]
        wanted = {event.id: number for event, number in zip(events, numbers, strict=True) if event.id is not None}
        if len(wanted) < sum(event.id is not None for event in events):
            raise DuplicateEvent("The same id comes twice in this batch.")
        if wanted:
            free = await store.claim_keys(connection, tenant, sorted(wanted.items()))
            if taken := next((key for key in wanted if key not in free), None):
                raise DuplicateEvent(f"An event with the id {taken} exists already.")
        made = [
            NewEvent(
                type=event.type,
                data=event.data,
                workspace=event.workspace or principal.workspace,
                tags=event.tags,
                occurred_at=event.occurred_at,
                test=principal.environment == "test",
                subject=event.ordering_key,
                message_id=event.id,
            )
            for event in events
        ]
        await self._append(connection, tenant, made, numbers)
        return [Accepted(event.id or number, number, event.type) for event, number in zip(events, numbers, strict=True)]

    async def get(self, tenant: str, event_id: str) -> Event:
        """Raises EventNotFound."""
        if not ids.is_id(event_id, "evt"):
            raise EventNotFound("There is no such event.")
        async with self._database.tenant(tenant) as connection:
            row = await store.get(connection, tenant, event_id)
        if row is None:
            raise EventNotFound("There is no such event.")
        return _shown(row, msgspec.Raw(row["body"]) if row["body"] is not None else None)

    async def page(
        self,
        tenant: str,
        paging: Paging,
        *,
        type: str | None = None,
        workspace: str | None = None,
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Page[Event]:
        async with self._database.tenant(tenant) as connection:
            rows, total = await store.page(
                connection, tenant, paging, type=type, workspace=workspace, subject=subject, since=since, until=until
            )
        return paging.page([_shown(row) for row in rows], lambda event: (event.created_at, event.id), total)

    async def expunge(self, tenant: str, event_id: str) -> None:
        """Forget an event's payload. It is delivered no more, and cannot be sent again. Raises EventNotFound."""
        async with self._database.tenant(tenant) as connection:
            known = ids.is_id(event_id, "evt") and await store.get(connection, tenant, event_id)
            if not known:
                raise EventNotFound("There is no such event.")
            await store.expunge(connection, tenant, event_id)

    async def _append(
        self, connection: Connection, tenant: str, events: Sequence[NewEvent], numbers: Sequence[str]
    ) -> list[str]:
        rows = [_row(event, number) for event, number in zip(events, numbers, strict=True)]
        routed = [
            Routed(
                id=number,
                type=event.type,
                workspace=event.workspace,
                tags=event.tags,
                test=event.test,
                subject=event.subject,
                data=event.data,
            )
            for event, number in zip(events, numbers, strict=True)
        ]
        deliveries = await self._router.route(connection, tenant, routed)
        await store.append(connection, tenant, rows, deliveries)
        if deliveries:
            self.wake.after(connection)
        return list(numbers)


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _row(event: NewEvent, number: str) -> store.EventRow:
    body = msgspec.json.encode(
        Envelope(
            event.message_id or number,
            event.type,
            stamp(event.occurred_at or clock.now()),
            event.workspace,
            event.data,
        )
    )
    tags = [tag for tag in event.tags if tag.isprintable()]
    return number, event.workspace, event.type, event.message_id, event.subject, tags, event.test, body


def _check(event: PublishedEvent, pointer: str) -> None:
    data = bytes(event.data)
    if len(data) > MAX_DATA:
        raise EventTooLarge(f"An event's data may hold {MAX_DATA // 1024} KiB at most.")
    if not data.lstrip().startswith(b"{"):
        raise Invalid.field(f"{pointer}/data", "type", "The data of an event is a JSON object.")
    if event.occurred_at is not None and event.occurred_at.tzinfo is None:
        raise Invalid.field(f"{pointer}/occurred_at", "format", "Give the time with its zone.")
    if event.ordering_key is not None and not event.ordering_key.isprintable():
        raise Invalid.field(f"{pointer}/ordering_key", "format", "An ordering key holds no control characters.")
    if not all(tag.isprintable() for tag in event.tags):
        raise Invalid.field(f"{pointer}/tags", "format", "Tags hold no control characters.")


def _shown(row: Record, body: msgspec.Raw | msgspec.UnsetType | None = msgspec.UNSET) -> Event:
    return Event(
        id=row["id"],
        message_id=row["message_id"] or row["id"],
        type=row["type"],
        workspace=row["workspace_id"],
        subject=row["subject"],
        tags=row["tags"],
        test=row["test"],
        created_at=ids.created_at(row["id"]),
        body=body,
    )
