"""SQL of providers' requests."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from penguin_hub.http.paging import Paging
from penguin_hub.platform.db import Connection, Record

DIED: Final = "The process that worked on it died."
"""The error of a request that was in a dead worker's hands, whether or not it was the cause."""


async def insert(
    connection: Connection,
    tenant: str,
    request_id: str,
    *,
    connection_id: str,
    plugin: str,
    key: bytes,
    method: str,
    url: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    received_at: datetime,
) -> bool:
    """False when the provider had sent it before. Called across tenants: the tenant comes from the connection."""
    made = await connection.fetchval(
        """
        INSERT INTO inbound_requests
            (tenant_id, id, connection_id, plugin, key, method, url, headers, body, received_at, due_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now()) ON CONFLICT DO NOTHING RETURNING true
        """,
        tenant,
        request_id,
        connection_id,
        plugin,
        key,
        method,
        url,
        [list(header) for header in headers],
        body,
        received_at,
    )
    return bool(made)


async def claim(connection: Connection, *, count: int, lease: float, token: int) -> list[Record]:
    """What is due, oldest first, leased. An attempt counts when it begins, so that one that kills us is counted too."""
    return await connection.fetch(
        """
        UPDATE inbound_requests
        SET attempts = attempts + 1, lease_until = now() + $2 * interval '1 second', lease_token = $3
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM inbound_requests
            WHERE state = 'pending' AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
            ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
        ))
        RETURNING *
        """,
        count,
        lease,
        token,
    )


async def put_back(connection: Connection, rows: Sequence[Record], token: int) -> None:
    """Undo the claim of these, as if they had never been touched."""
    await connection.execute(
        """
        UPDATE inbound_requests r SET attempts = r.attempts - 1, lease_until = NULL, lease_token = NULL
        FROM unnest($1::text[], $2::text[]) AS mine (tenant_id, id)
        WHERE r.tenant_id = mine.tenant_id AND r.id = mine.id AND r.lease_token = $3
        """,
        [row["tenant_id"] for row in rows],
        [row["id"] for row in rows],
        token,
    )


async def processed(connection: Connection, tenant: str, request_id: str, token: int, events: Sequence[str]) -> bool:
    """False when the lease was taken over: whoever has it now has the effect, and this transaction must not."""
    done = await connection.fetchval(
        """
        UPDATE inbound_requests SET state = 'processed', events = $4, error = NULL, processed_at = now(),
            lease_until = NULL, lease_token = NULL
        WHERE tenant_id = $1 AND id = $2 AND lease_token = $3 RETURNING true
        """,
        tenant,
        request_id,
        token,
        list(events),
    )
    return bool(done)


async def failed(
    connection: Connection, tenant: str, request_id: str, token: int, *, error: str, delay: float | None
) -> None:
    """Due again after `delay` seconds; parked when that is None."""
    await connection.execute(
        """
        UPDATE inbound_requests SET state = CASE WHEN $5::float8 IS NULL THEN 'parked' ELSE 'pending' END, error = $4,
            due_at = now() + coalesce($5, 0) * interval '1 second', lease_until = NULL, lease_token = NULL
        WHERE tenant_id = $1 AND id = $2 AND lease_token = $3
        """,
        tenant,
        request_id,
        token,
        error,
        delay,
    )


async def next_due(connection: Connection) -> float | None:
    """Seconds until something is due; None when nothing waits."""
    found = await connection.fetchval(
        """
        SELECT extract(epoch FROM min(greatest(due_at, coalesce(lease_until, due_at))) - now())::float8
        FROM (
            SELECT due_at, lease_until FROM inbound_requests WHERE state = 'pending' ORDER BY due_at LIMIT 100
        ) AS first
        """
    )
    return None if found is None else float(found)


async def reprocess(connection: Connection, tenant: str, request_id: str) -> bool:
    """Due at once, as if it had just come. False while it is being processed."""
    done = await connection.fetchval(
        """
        UPDATE inbound_requests SET state = 'pending', attempts = 0, due_at = now(),
            lease_until = NULL, lease_token = NULL
        WHERE tenant_id = $1 AND id = $2 AND (lease_until IS NULL OR lease_until < now()) RETURNING true
        """,
        tenant,
        request_id,
    )
    return bool(done)


async def get(connection: Connection, tenant: str, request_id: str) -> Record | None:
    return await connection.fetchrow(
        "SELECT * FROM inbound_requests WHERE tenant_id = $1 AND id = $2", tenant, request_id
    )


async def page(
    connection: Connection, tenant: str, paging: Paging, *, connection_id: str | None, state: str | None
) -> tuple[list[Record], int | None]:
    """One row more than `paging.limit`, and how many there are in all where an offset was given."""
    order, past = ("DESC", "<") if paging.descending else ("ASC", ">")
    where = f"""
        WHERE tenant_id = $1 AND ($2::text IS NULL OR connection_id = $2) AND ($3::text IS NULL OR state = $3)
            AND ($4::text IS NULL OR id {past} $4)
    """
    wanted = (tenant, connection_id, state, paging.after[1] if paging.after else None)
    rows = await connection.fetch(
        f"""
        SELECT tenant_id, id, connection_id, plugin, state, attempts, events, error, received_at, processed_at
        FROM inbound_requests {where} ORDER BY id {order} LIMIT $5 OFFSET $6
        """,
        *wanted,
        paging.limit + 1,
        paging.offset or 0,
    )
    total = None
    if paging.offset is not None:
        total = await connection.fetchval(f"SELECT count(*) FROM inbound_requests {where}", *wanted)
    return rows, total


async def drop_before(connection: Connection, moment: datetime, count: int) -> int:
    """Forget at most so many finished requests received before then; returns how many went."""
    return int(
        await connection.fetchval(
            """
            WITH old AS (
                DELETE FROM inbound_requests WHERE ctid = ANY (ARRAY(
                    SELECT ctid FROM inbound_requests WHERE received_at < $1 AND state <> 'pending' LIMIT $2
                )) RETURNING 1
            ) SELECT count(*) FROM old
            """,
            moment,
            count,
        )
    )


async def give_back_of(connection: Connection, worker: int) -> int:
    """End the leases of a dead worker (see `platform.presence`); how many."""
    done = await connection.execute(
        """UPDATE inbound_requests SET lease_until = NULL, lease_token = NULL, error = $2
           WHERE state = 'pending' AND lease_token >> 32 = $1""",
        worker,
        DIED,
    )
    return int(done.rpartition(" ")[2])
