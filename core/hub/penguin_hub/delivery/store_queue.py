"""SQL of the workers: what is due, claiming it, and settling what came of it. Across tenants, as the relay role.

Every moment is the database's own, so that a worker with a wrong clock neither sends early nor steals a lease.
"""

from collections.abc import Sequence
from typing import Any

from penguin_hub.delivery import store_order
from penguin_hub.platform.db import Connection, Record

# A worker's transaction may be forgotten by a crash of PostgreSQL: then the lease or the outcome is missing, and the
# delivery is made again with the same id. The plans are forced because the queue's size changes faster than statistics.
_SETUP = (
    "SET LOCAL synchronous_commit = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; "
    "SET LOCAL enable_mergejoin = off; SET LOCAL enable_bitmapscan = off; "
    "SET LOCAL plan_cache_mode = force_generic_plan"
)

# A loose index scan: one descent for each endpoint and lane that has anything queued.
_DUE = """
    WITH RECURSIVE found AS (
        (SELECT tenant_id, endpoint_id, lane, due_at FROM delivery_queue ORDER BY endpoint_id, lane, due_at LIMIT 1)
        UNION ALL
        SELECT next.* FROM found CROSS JOIN LATERAL (
            SELECT tenant_id, endpoint_id, lane, due_at FROM delivery_queue
            WHERE (endpoint_id, lane) > (found.endpoint_id, found.lane)
            ORDER BY endpoint_id, lane, due_at LIMIT 1
        ) AS next
    )
    SELECT tenant_id, endpoint_id, lane, extract(epoch FROM due_at - now())::float8 AS seconds FROM found
"""

# `ctid` of rows that this statement has locked is exact; a join by key would leave the plan to chance.
_CLAIM = """
    UPDATE delivery_queue SET lease_until = now() + $4 * interval '1 second', lease_token = $5
    WHERE ctid = ANY (ARRAY(
        SELECT q.ctid FROM unnest($1::text[], $2::smallint[], $3::int[]) AS wanted (endpoint_id, lane, count)
        CROSS JOIN LATERAL (
            SELECT ctid FROM delivery_queue
            WHERE endpoint_id = wanted.endpoint_id AND lane = wanted.lane AND due_at <= now()
                AND (lease_until IS NULL OR lease_until < now())
            ORDER BY due_at LIMIT wanted.count FOR UPDATE SKIP LOCKED
        ) AS q
    ))
    RETURNING tenant_id, id, endpoint_id, event_id, type, lane, attempt, series
"""

_BODIES = """
    SELECT e.id, e.message_id, e.body FROM unnest($1::text[], $2::text[]) AS wanted (tenant_id, id)
    JOIN events e ON e.tenant_id = wanted.tenant_id AND e.id = wanted.id WHERE e.id >= $3 AND e.id <= $4
"""

# kind: 'f' finished (`state` says how), 'r' retried after `delay`, 'p' a probe (does not count), 'b' given back unsent.
_SETTLE = """
    WITH result AS (
        SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::"char"[], $5::text[], $6::float8[],
            $7::smallint[], $8::text[], $9::text[], $10::int[], $11::bytea[])
        AS r (tenant_id, id, token, kind, state, delay, status, error, attempt_id, duration_ms, detail)
    ), gone AS (
        DELETE FROM delivery_queue q USING result r
        WHERE r.kind = 'f' AND q.tenant_id = r.tenant_id AND q.id = r.id AND q.lease_token = r.token
        RETURNING q.tenant_id, q.id, q.endpoint_id, q.event_id, q.type, r.state,
            (q.attempt + (r.attempt_id IS NOT NULL)::int)::smallint AS attempt,
            CASE WHEN r.attempt_id IS NULL THEN q.last_status ELSE r.status END AS last_status,
            r.error, r.attempt_id, r.status, r.duration_ms, r.detail
    ), again AS (
        UPDATE delivery_queue q SET
            lease_until = NULL, lease_token = NULL, due_at = now() + r.delay * interval '1 second',
            lane = CASE WHEN r.kind = 'r' AND q.ordering_key IS NULL THEN 1 ELSE q.lane END,
            attempt = (q.attempt + (r.kind <> 'b')::int)::smallint,
            series = (q.series + (r.kind = 'p')::int)::smallint,
            last_status = CASE r.kind WHEN 'b' THEN q.last_status ELSE r.status END,
            last_error = CASE r.kind WHEN 'b' THEN q.last_error ELSE r.error END
        FROM result r
        WHERE r.kind <> 'f' AND q.tenant_id = r.tenant_id AND q.id = r.id AND q.lease_token = r.token
        RETURNING q.tenant_id, q.id, q.attempt, r.error, r.attempt_id, r.status, r.duration_ms, r.detail
    ), logged AS (
        INSERT INTO deliveries
            (tenant_id, id, endpoint_id, event_id, type, state, attempts, last_status, last_error, finished_at)
        SELECT tenant_id, id, endpoint_id, event_id, type, state, attempt, last_status, error, now() FROM gone
        ON CONFLICT (tenant_id, id) DO UPDATE SET state = EXCLUDED.state, attempts = EXCLUDED.attempts,
            last_status = EXCLUDED.last_status, last_error = EXCLUDED.last_error, finished_at = EXCLUDED.finished_at
    ), tried AS (
        INSERT INTO attempts (tenant_id, delivery_id, number, id, status, error, duration_ms, detail)
        SELECT tenant_id, id, attempt, attempt_id, status, error, duration_ms, detail
        FROM gone WHERE attempt_id IS NOT NULL
        UNION ALL
        SELECT tenant_id, id, attempt, attempt_id, status, error, duration_ms, detail
        FROM again WHERE attempt_id IS NOT NULL
        ON CONFLICT (tenant_id, delivery_id, number) DO NOTHING
    )
    SELECT id FROM gone UNION ALL SELECT id FROM again
"""


async def setup(connection: Connection) -> None:
    """First in each of a worker's transactions."""
    await connection.execute(_SETUP)


async def due(connection: Connection) -> list[Record]:
    """(tenant_id, endpoint_id, lane, seconds): everything queued, with the seconds until its first is due."""
    return await connection.fetch(_DUE)


async def claim(
    connection: Connection, wanted: Sequence[tuple[str, int, int]], *, lease: float, token: int
) -> list[Record]:
    """At most so many of each (endpoint, lane), leased for `lease` seconds under `token`."""
    return await connection.fetch(
        _CLAIM, [row[0] for row in wanted], [row[1] for row in wanted], [row[2] for row in wanted], lease, token
    )


async def bodies(connection: Connection, events: Sequence[tuple[str, str]]) -> dict[str, tuple[str, bytes | None]]:
    """Message id and body by event id, for pairs (tenant, event)."""
    if not events:
        return {}
    numbers = [event for _, event in events]
    rows = await connection.fetch(_BODIES, [tenant for tenant, _ in events], numbers, min(numbers), max(numbers))
    return {row["id"]: (row["message_id"] or row["id"], row["body"]) for row in rows}


async def settle(connection: Connection, results: Sequence[tuple[Any, ...]]) -> set[str]:
    """Write outcomes; returns the ids whose lease was still ours. The others were taken over and are not counted."""
    rows = await connection.fetch(_SETTLE, *(list(column) for column in zip(*results, strict=True)))
    return {row["id"] for row in rows}


async def endpoints(connection: Connection, wanted: Sequence[tuple[str, str]]) -> list[Record]:
    """The endpoints of pairs (tenant, endpoint) as they are now, deleted ones too."""
    return await connection.fetch(
        "SELECT w.* FROM unnest($1::text[], $2::text[]) AS wanted (tenant_id, id) "
        "JOIN webhooks w ON w.tenant_id = wanted.tenant_id AND w.id = wanted.id",
        [row[0] for row in wanted],
        [row[1] for row in wanted],
    )


async def versions(connection: Connection, wanted: Sequence[tuple[str, str]]) -> list[Record]:
    """(id, version, failing) of each endpoint."""
    return await connection.fetch(
        "SELECT w.id, w.version, w.failing_since IS NOT NULL AS failing "
        "FROM unnest($1::text[], $2::text[]) AS wanted (tenant_id, id) "
        "JOIN webhooks w ON w.tenant_id = wanted.tenant_id AND w.id = wanted.id",
        [row[0] for row in wanted],
        [row[1] for row in wanted],
    )


async def pace(connection: Connection, tenant: str, endpoint: str, count: int, rate: float) -> float:
    """Reserve `count` sends at `rate` a second, across all workers; returns the seconds until the first of them."""
    return float(
        await connection.fetchval(
            "UPDATE webhooks SET paced_until = greatest(paced_until, now()) + $3 * interval '1 second' "
            "WHERE tenant_id = $1 AND id = $2 RETURNING extract(epoch FROM paced_until - now())::float8 - $3",
            tenant,
            endpoint,
            count / rate,
        )
        or 0.0
    )


async def give_back_of(connection: Connection, worker: int) -> int:
    """End the leases of a dead worker (see `platform.presence`); how many."""
    done = await connection.execute(
        """UPDATE delivery_queue SET lease_until = NULL, lease_token = NULL
           WHERE lease_until IS NOT NULL AND lease_token >> 32 = $1""",
        worker,
    )
    return int(done.rpartition(" ")[2])


async def longest_overdue(connection: Connection) -> float:
    """Seconds since the oldest due delivery became due; 0 when none waits. One probe for each endpoint with work.

    What keeps an order is left out: it may wait behind another without anybody being late.
    """
    found: float | None = await connection.fetchval(
        "SELECT -min(seconds) FROM (" + _DUE + ") AS due WHERE lane <> $1",  # noqa: S608 -- a constant
        store_order.LANE,
    )
    return max(0.0, found or 0.0)
