"""SQL of recoveries: begun by the API, carried on by any worker, one page of events in each transaction."""

from collections.abc import Sequence
from datetime import datetime

from penguin_hub.platform import ids
from penguin_hub.platform.db import Connection, Record


async def insert(
    connection: Connection, tenant: str, recovery_id: str, webhook_id: str, since: datetime, until: datetime
) -> Record:
    row = await connection.fetchrow(
        "INSERT INTO webhook_recoveries (tenant_id, id, webhook_id, since, until) "
        "VALUES ($1, $2, $3, $4, $5) RETURNING *",
        tenant,
        recovery_id,
        webhook_id,
        since,
        until,
    )
    if row is None:
        raise RuntimeError("an insert returned nothing")
    return row


async def get(connection: Connection, tenant: str, webhook_id: str, recovery_id: str) -> Record | None:
    return await connection.fetchrow(
        "SELECT * FROM webhook_recoveries WHERE tenant_id = $1 AND webhook_id = $2 AND id = $3",
        tenant,
        webhook_id,
        recovery_id,
    )


async def take(connection: Connection) -> Record | None:
    """A running recovery that no other worker is at, with its endpoint; locked until the transaction ends."""
    return await connection.fetchrow(
        """
        SELECT r.*, w.enabled AND w.deleted_at IS NULL AS active, w.events, w.filter, w.ordered
        FROM webhook_recoveries r
        JOIN webhooks w ON w.tenant_id = r.tenant_id AND w.id = r.webhook_id
        WHERE r.state = 'running' ORDER BY r.id LIMIT 1 FOR UPDATE OF r SKIP LOCKED
        """
    )


async def events(
    connection: Connection, tenant: str, after: str, since: datetime, until: datetime, limit: int
) -> list[Record]:
    """The next events of the window, with their payload; expunged ones are left out."""
    return await connection.fetch(
        """
        SELECT id, type, workspace_id, tags, test, body FROM events
        WHERE tenant_id = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT $4
        """,
        tenant,
        max(after, ids.lowest_at("evt", since)),
        ids.lowest_at("evt", until),
        limit,
    )


async def known(connection: Connection, tenant: str, delivery_ids: Sequence[str]) -> dict[str, str]:
    """The state of those that exist; `queued` for unfinished ones."""
    if not delivery_ids:
        return {}
    rows = await connection.fetch(
        """
        SELECT id, 'queued' AS state FROM delivery_queue WHERE tenant_id = $1 AND id = ANY ($2)
        UNION ALL
        SELECT id, state FROM deliveries WHERE tenant_id = $1 AND id = ANY ($2) AND id BETWEEN $3 AND $4
        """,
        tenant,
        list(delivery_ids),
        min(delivery_ids),
        max(delivery_ids),
    )
    return {row["id"]: row["state"] for row in rows}


async def advance(
    connection: Connection, row: Record, *, reached: str, examined: int, requeued: int, state: str
) -> None:
    await connection.execute(
        "UPDATE webhook_recoveries SET reached = $3, examined = examined + $4, requeued = requeued + $5, state = $6 "
        "WHERE tenant_id = $1 AND id = $2",
        row["tenant_id"],
        row["id"],
        reached,
        examined,
        requeued,
        state,
    )
