"""SQL of the delivery log, as the API reads it. An unfinished delivery is in the queue, a finished one in the log."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from penguin_hub.delivery.naming import deliveries_of
from penguin_hub.http.paging import Paging
from penguin_hub.platform import ids
from penguin_hub.platform.db import Connection, Record

_QUEUE: Final = """
    SELECT id, endpoint_id, event_id, type, CASE WHEN attempt > 0 THEN 'retrying' ELSE 'pending' END AS state,
        attempt AS attempts, last_status, last_error, due_at, NULL::timestamptz AS finished_at FROM delivery_queue
"""
_LOG: Final = """
    SELECT id, endpoint_id, event_id, type, state, attempts, last_status, last_error,
        NULL::timestamptz AS due_at, finished_at FROM deliveries
"""
_WHERE: Final = """
    WHERE tenant_id = $1 AND id >= $2 AND id < $3 AND ($4::text IS NULL OR endpoint_id = $4)
        AND ($5::text IS NULL OR type = $5)
"""
LIVE: Final = {"pending": "attempt = 0", "retrying": "attempt > 0"}


async def page(
    connection: Connection,
    tenant: str,
    paging: Paging,
    *,
    webhook: str | None,
    event: str | None,
    type: str | None,
    status: str | None,
    since: datetime | None,
    until: datetime | None,
) -> tuple[list[Record], int | None]:
    """One row more than `paging.limit`, and how many there are in all where an offset was given."""
    low = ids.lowest_at("dlv", since) if since else "dlv_"
    high = ids.lowest_at("dlv", until) if until else "dlv_~"
    if event is not None:
        first, last = deliveries_of(event)
        low, high = max(low, first), min(high, last + "~")
    if paging.after:
        low, high = (low, min(high, paging.after[1])) if paging.descending else (max(low, paging.after[1] + "~"), high)
    order = "DESC" if paging.descending else "ASC"
    limit = paging.limit + 1 + (paging.offset or 0)
    parts: list[str] = []
    if status is None or status in LIVE:
        parts.append(f"{_QUEUE}{_WHERE} {f'AND {LIVE[status]}' if status else ''}")
    if status is None or status not in LIVE:
        state = f"AND state = '{status}'" if status in ("succeeded", "failed", "discarded") else ""
        parts.append(f"{_LOG}{_WHERE} {state}")
    wanted = (tenant, low, high, webhook, type)
    # Each side gives its own first rows, so that neither is read further than the page needs.
    firsts = " UNION ALL ".join(f"({part} ORDER BY id {order} LIMIT {limit})" for part in parts)
    rows = await connection.fetch(
        f"SELECT * FROM ({firsts}) AS found "  # noqa: S608 -- words of our own
        f"ORDER BY id {order} LIMIT {paging.limit + 1} OFFSET {paging.offset or 0}",
        *wanted,
    )
    total = None
    if paging.offset is not None:
        counted = f"SELECT count(*) FROM ({' UNION ALL '.join(parts)}) AS found"  # noqa: S608 -- as above
        total = await connection.fetchval(counted, *wanted)
    return rows, total


async def get(connection: Connection, tenant: str, delivery_id: str) -> Record | None:
    return await connection.fetchrow(
        f"{_QUEUE} WHERE tenant_id = $1 AND id = $2 UNION ALL {_LOG} WHERE tenant_id = $1 AND id = $2",
        tenant,
        delivery_id,
    )


async def attempts(connection: Connection, tenant: str, delivery_id: str) -> list[Record]:
    return await connection.fetch(
        "SELECT * FROM attempts WHERE tenant_id = $1 AND delivery_id = $2 ORDER BY number", tenant, delivery_id
    )


async def hurry(connection: Connection, tenant: str, delivery_id: str) -> bool | None:
    """A waiting delivery is due now, with all its retries again. None: there is none; False: it is under way."""
    row = await connection.fetchrow(
        "SELECT lease_until > now() AS leased FROM delivery_queue WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
        tenant,
        delivery_id,
    )
    if row is None:
        return None
    if row["leased"]:
        return False
    await connection.execute(
        """
        UPDATE delivery_queue SET due_at = now(), lane = CASE WHEN ordering_key IS NULL THEN 2 ELSE lane END,
            series = attempt, lease_until = NULL, lease_token = NULL
        WHERE tenant_id = $1 AND id = $2
        """,
        tenant,
        delivery_id,
    )
    return True


async def requeue(connection: Connection, tenant: str, delivery_ids: Sequence[str]) -> list[str]:
    """Finished deliveries go back into the queue, counting on from their last attempt."""
    rows = await connection.fetch(
        """
        WITH back AS (
            DELETE FROM deliveries WHERE tenant_id = $1 AND id = ANY ($2)
            RETURNING tenant_id, id, endpoint_id, event_id, type, attempts, last_status, last_error
        )
        INSERT INTO delivery_queue
            (tenant_id, id, endpoint_id, event_id, type, lane, attempt, series, last_status, last_error, due_at)
        SELECT tenant_id, id, endpoint_id, event_id, type, 2, attempts, attempts, last_status, last_error, now()
        FROM back
        ON CONFLICT DO NOTHING RETURNING id
        """,
        tenant,
        list(delivery_ids),
    )
    return [row["id"] for row in rows]


async def enqueue(
    connection: Connection, tenant: str, endpoint: str, rows: Sequence[tuple[str, str, str]], *, lane: int
) -> int:
    """New deliveries (id, event, type) to one endpoint; those that exist are left alone. Returns how many were made."""
    if not rows:
        return 0
    made = await connection.fetch(
        """
        INSERT INTO delivery_queue (tenant_id, id, endpoint_id, event_id, type, lane, due_at)
        SELECT $1, n.id, $2, n.event_id, n.type, $3, now() FROM unnest($4::text[], $5::text[], $6::text[])
            AS n (id, event_id, type)
        WHERE NOT EXISTS (SELECT FROM deliveries d WHERE d.tenant_id = $1 AND d.id = n.id)
        ON CONFLICT DO NOTHING RETURNING id
        """,
        tenant,
        endpoint,
        lane,
        *(list(column) for column in zip(*rows, strict=True)),
    )
    return len(made)


async def payload(connection: Connection, tenant: str, event_id: str) -> bytes | None:
    """The body of an event; None when it is expunged or dropped."""
    found: bytes | None = await connection.fetchval(
        "SELECT body FROM events WHERE tenant_id = $1 AND id = $2", tenant, event_id
    )
    return found
