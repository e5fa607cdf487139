"""The catalogue of event types: the hub's own, and those that a tenant describes."""

import re
from typing import Any, Final

import msgspec

from penguin_hub.event_types import store
from penguin_hub.event_types.builtin import BUILTIN
from penguin_hub.event_types.errors import (
    EventTypeExists,
    EventTypeNotFound,
    EventTypeReserved,
    TooManyEventTypes,
)
from penguin_hub.event_types.schemas import EventType, NewEventType, Origin, ReplacedEventType
from penguin_hub.event_types.validation import Compiled, checked_example
from penguin_hub.events.schemas import TYPE_PATTERN
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Page, Paging
from penguin_hub.http.principal import Principal
from penguin_hub.platform.db import Database, Record

MAX_TYPES: Final = 500
"""Event types of one tenant."""


class EventTypesService:
    """One for the process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, principal: Principal, new: NewEventType, once: Once) -> EventType:
        """Raises SchemaNotAllowed, EventTypeExists, EventTypeReserved, TooManyEventTypes."""
        _not_ours(new.name)
        texts = _texts(new)
        tenant = principal.tenant
        async with self._database.tenant(tenant) as connection:
            await once.begin(connection)
            await store.bump(connection, tenant)
            if await store.count(connection, tenant) >= MAX_TYPES:
                raise TooManyEventTypes(f"A tenant has at most {MAX_TYPES} event types; delete one first.")
            row = await store.insert(connection, tenant, new.name, *texts)
            if row is None:
                raise EventTypeExists("This event type is described already; replace it with PUT.")
            made = _shown(row)
            await once.keep(connection, made, status=201)
        return made

    async def get(self, tenant: str, name: str) -> EventType:
        """The hub's or the tenant's. Raises EventTypeNotFound."""
        if (known := BUILTIN.get(name)) is not None:
            return known
        _named(name)
        async with self._database.tenant(tenant) as connection:
            return _known(await store.get(connection, tenant, name))

    async def page(self, tenant: str, paging: Paging, *, origin: Origin | None) -> Page[EventType]:
        """By name."""
        after = paging.after[1] if paging.after else None
        wanted = paging.limit + 1 + (paging.offset or 0)
        found: list[EventType] = []
        total = len(BUILTIN) if origin != "tenant" else 0
        if origin != "tenant":
            found += [
                one
                for one in BUILTIN.values()
                if after is None or (one.name < after if paging.descending else one.name > after)
            ]
        if origin != "hub":
            async with self._database.tenant(tenant) as connection:
                rows = await store.page(connection, tenant, after=after, limit=wanted, descending=paging.descending)
                total += await store.count(connection, tenant) if paging.offset is not None else 0
            found += [_shown(row) for row in rows]
        found.sort(key=lambda one: one.name, reverse=paging.descending)
        shown = found[paging.offset or 0 : wanted]
        return paging.page(shown, lambda one: (one.name, one.name), total=total if paging.offset is not None else None)

    async def replace(self, tenant: str, name: str, wanted: ReplacedEventType) -> EventType:
        """Raises EventTypeNotFound, EventTypeReserved, SchemaNotAllowed."""
        _named(name)
        _not_ours(name)
        texts = _texts(wanted)
        async with self._database.tenant(tenant) as connection:
            await store.bump(connection, tenant)
            return _known(await store.replace(connection, tenant, name, *texts))

    async def delete(self, tenant: str, name: str) -> None:
        """Events of the type are published unchecked from now on. Raises EventTypeNotFound, EventTypeReserved."""
        _named(name)
        _not_ours(name)
        async with self._database.tenant(tenant) as connection:
            await store.bump(connection, tenant)
            if not await store.delete(connection, tenant, name):
                raise _not_found()


def _named(name: str) -> None:
    """What cannot be a name is not found, and PostgreSQL need not see it."""
    if not re.fullmatch(TYPE_PATTERN, name):
        raise _not_found()


def _not_ours(name: str) -> None:
    if name in BUILTIN:
        raise EventTypeReserved("The hub makes events of this type itself; choose another name.")


def _texts(wanted: NewEventType | ReplacedEventType) -> tuple[str, str, str]:
    """Description, schema and example as they are stored."""
    example = checked_example(Compiled(wanted.schema), wanted.example)
    return wanted.description, msgspec.json.encode(wanted.schema).decode(), example


def _known(row: Record | None) -> EventType:
    if row is None:
        raise _not_found()
    return _shown(row)


def _not_found() -> EventTypeNotFound:
    return EventTypeNotFound("There is no such event type.")


def _shown(row: Record) -> EventType:
    return EventType(
        name=row["name"],
        origin="tenant",
        description=row["description"],
        schema=msgspec.json.decode(row["schema"], type=dict[str, Any]),
        version=row["version"],
        example=msgspec.json.decode(row["example"], type=dict[str, Any]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
