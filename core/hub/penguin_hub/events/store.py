"""SQL of events and of the outbox: an event and its queued deliveries are one statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from penguin_hub.http.paging import Paging
from penguin_hub.platform import ids
from penguin_hub.platform.db import Connection, Record

# What one event brings to the log: (id, workspace, type, message_id, subject, tags as one text, test, body).
EventRow = tuple[str, str | None, str, str | None, str | None, list[str], bool, bytes]
# One queued delivery: (id, endpoint, event, type, the key whose order it keeps, if any).
DeliveryRow = tuple[str, str, str, str, str | None]

_INSERT_ONE = """
    WITH event AS (
        INSERT INTO events (tenant_id, id, workspace_id, type, message_id, subject, tags, test, body)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    )
    INSERT INTO delivery_queue (tenant_id, id, endpoint_id, event_id, type, due_at)
    SELECT $1, d.id, d.endpoint_id, $2, $4, clock_timestamp()
    FROM unnest($10::text[], $11::text[]) AS d (id, endpoint_id)
"""

_INSERT_EVENTS = """
    INSERT INTO events (tenant_id, id, workspace_id, type, message_id, subject, tags, test, body)
    SELECT $1, e.id, e.workspace_id, e.type, e.message_id, e.subject, string_to_array(e.tags, chr(31)), e.test, e.body
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bool[], $9::bytea[])
        AS e (id, workspace_id, type, message_id, subject, tags, test, body)
"""

_INSERT_DELIVERIES = """
    INSERT INTO delivery_queue (tenant_id, id, endpoint_id, event_id, type, due_at)
    SELECT $1, d.id, d.endpoint_id, d.event_id, d.type, clock_timestamp()
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS d (id, endpoint_id, event_id, type)
"""


_WHERE = """
    WHERE tenant_id = $1 AND id >= $2 AND id < $3 AND ($4::text IS NULL OR starts_with(type, $4))
        AND ($5::text IS NULL OR type = $5) AND ($6::text IS NULL OR workspace_id = $6)
        AND ($7::text IS NULL OR subject = $7)
"""

# Lane 3: see delivery/store_order. Places are drawn here, so that whoever publishes after another's commit comes after.
_INSERT_ORDERED = """
    INSERT INTO delivery_queue (tenant_id, id, endpoint_id, event_id, type, lane, due_at, ordering_key, place)
    SELECT $1, d.id, d.endpoint_id, d.event_id, d.type, 3, clock_timestamp(), d.key, nextval('delivery_places')
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY
        AS d (id, endpoint_id, event_id, type, key, number)
    ORDER BY d.number
"""


async def append(
    connection: Connection, tenant: str, events: Sequence[EventRow], deliveries: Sequence[DeliveryRow]
) -> None:
    """Events and the deliveries they cause, in the caller's transaction."""
    plain = [row for row in deliveries if row[4] is None]
    if len(plain) < len(deliveries):
        ordered = [row for row in deliveries if row[4] is not None]
        await connection.execute(_INSERT_ORDERED, tenant, *(list(column) for column in zip(*ordered, strict=True)))
    if len(events) == 1:
        await connection.execute(_INSERT_ONE, tenant, *events[0], [row[0] for row in plain], [row[1] for row in plain])
        return
    columns: list[list[Any]] = [list(column) for column in zip(*events, strict=True)]
    # An array of arrays of different lengths has no form in PostgreSQL; tags hold no control characters.
    columns[5] = ["\x1f".join(tags) for tags in columns[5]]
    await connection.execute(_INSERT_EVENTS, tenant, *columns)
    if plain:
        *four, _ = zip(*plain, strict=True)
        await connection.execute(_INSERT_DELIVERIES, tenant, *(list(column) for column in four))


async def claim_keys(connection: Connection, tenant: str, keys: Sequence[tuple[str, str]]) -> set[str]:
    """Reserve tenants' own ids (message id, event id); returns the message ids that were free."""
    found = await connection.fetch(
        "INSERT INTO event_keys (tenant_id, message_id, event_id) SELECT $1, * FROM unnest($2::text[], $3::text[]) "
        "ON CONFLICT DO NOTHING RETURNING message_id",
        tenant,
        [key[0] for key in keys],
        [key[1] for key in keys],
    )
    return {row["message_id"] for row in found}


async def get(connection: Connection, tenant: str, event_id: str) -> Record | None:
    return await connection.fetchrow("SELECT * FROM events WHERE tenant_id = $1 AND id = $2", tenant, event_id)


async def page(
    connection: Connection,
    tenant: str,
    paging: Paging,
    *,
    type: str | None,
    workspace: str | None,
    subject: str | None,
    since: datetime | None,
    until: datetime | None,
) -> tuple[list[Record], int | None]:
    """One row more than `paging.limit`, and how many there are in all where an offset was given.

    A wildcard type such as `email.*` is a prefix.
    """
    low = ids.lowest_at("evt", since) if since else "evt_"
    high = ids.lowest_at("evt", until) if until else "evt_~"
    if paging.after:
        low, high = (low, min(high, paging.after[1])) if paging.descending else (max(low, paging.after[1] + "~"), high)
    order = "DESC" if paging.descending else "ASC"
    prefix, exact = (type[:-1], None) if type and type.endswith("*") else (None, type)
    wanted = (tenant, low, high, prefix, exact, workspace, subject)
    rows = await connection.fetch(
        f"""
        SELECT tenant_id, id, workspace_id, type, message_id, subject, tags, test FROM events {_WHERE}
        ORDER BY id {order} LIMIT $8 OFFSET $9
        """,
        *wanted,
        paging.limit + 1,
        paging.offset or 0,
    )
    total = None
    if paging.offset is not None:
        total = await connection.fetchval(f"SELECT count(*) FROM events {_WHERE}", *wanted)
    return rows, total


async def expunge(connection: Connection, tenant: str, event_id: str) -> bool:
    """Forget what an event carried; that it happened, and its attempts, stay."""
    done = await connection.execute(
        "UPDATE events SET body = NULL WHERE tenant_id = $1 AND id = $2 AND body IS NOT NULL", tenant, event_id
    )
    return str(done) != "UPDATE 0"
