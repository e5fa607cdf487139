"""SQL of strict order: of each endpoint and ordering key, only the delivery with the lowest place may be claimed.

What is claimable follows from the rows that are there and from nothing else: a delivery that waits for its retry, or is
leased by a worker that died, stands in the queue and holds back its key; once it is finished it is gone from the queue.
So there is nothing to repair. Rows of this lane are in no other lane's range of `delivery_queue_due`.
"""

from collections.abc import Sequence
from typing import Final

from penguin_hub.platform.db import Connection, Record

LANE: Final = 3
"""Of deliveries that keep an order, whether first attempts or retries."""

# A loose index scan: one descent for each key that has anything queued, however much it is; it ends when `count` heads
# are found. Whoever locks a head has it judged again as it is then (READ COMMITTED), so that a head which was claimed
# or put off after this statement began is passed over.
_CLAIM: Final = """
    UPDATE delivery_queue SET lease_until = now() + $4 * interval '1 second', lease_token = $5
    WHERE ctid = ANY (ARRAY(
        SELECT q.ctid FROM unnest($1::text[], $2::int[], $3::text[]) AS wanted (endpoint_id, count, after)
        CROSS JOIN LATERAL (
            WITH RECURSIVE head AS (
                (SELECT ordering_key, place, due_at, lease_until FROM delivery_queue
                WHERE endpoint_id = wanted.endpoint_id AND ordering_key > wanted.after
                ORDER BY endpoint_id, ordering_key, place LIMIT 1)
                UNION ALL
                SELECT next.* FROM head CROSS JOIN LATERAL (
                    SELECT ordering_key, place, due_at, lease_until FROM delivery_queue
                    WHERE endpoint_id = wanted.endpoint_id AND ordering_key > head.ordering_key
                    ORDER BY endpoint_id, ordering_key, place LIMIT 1
                ) AS next
            )
            SELECT ordering_key, place FROM head
            WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now()) LIMIT wanted.count
        ) AS free
        CROSS JOIN LATERAL (
            SELECT ctid FROM delivery_queue
            WHERE endpoint_id = wanted.endpoint_id AND ordering_key = free.ordering_key AND place = free.place
                AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
            FOR UPDATE SKIP LOCKED
        ) AS q
    ))
    RETURNING tenant_id, id, endpoint_id, event_id, type, lane, attempt, series, ordering_key
"""


async def claim(
    connection: Connection, wanted: Sequence[tuple[str, int, str]], *, lease: float, token: int
) -> list[Record]:
    """Of each (endpoint, count, key) at most so many, of as many keys after that one, leased under `token`."""
    return await connection.fetch(_CLAIM, *(list(column) for column in zip(*wanted, strict=True)), lease, token)


async def arrange(connection: Connection, tenant: str, delivery_ids: Sequence[str]) -> None:
    """Give deliveries that this transaction has queued again their keys, and places after all that wait already."""
    await connection.execute(
        """
        UPDATE delivery_queue q SET lane = $3, ordering_key = new.subject, place = new.place
        FROM (
            SELECT d.id, e.subject, nextval('delivery_places') AS place FROM delivery_queue d
            JOIN events e ON e.tenant_id = d.tenant_id AND e.id = d.event_id
            WHERE d.tenant_id = $1 AND d.id = ANY ($2) AND e.subject IS NOT NULL ORDER BY d.id
        ) AS new
        WHERE q.tenant_id = $1 AND q.id = new.id
        """,
        tenant,
        list(delivery_ids),
        LANE,
    )
