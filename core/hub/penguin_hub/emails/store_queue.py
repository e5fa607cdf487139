"""The queue of messages in PostgreSQL.

Claiming looks across tenants and sees the queue alone; what a message says is read as its tenant. A claimed row is
pushed ahead by the length of the lease and marked with it: a worker that dies gives it back by doing nothing.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from penguin_hub.emails.content import Content, unpack
from penguin_hub.emails.schemas import Kind, Stream
from penguin_hub.platform.db import Connection


class Claim(msgspec.Struct, frozen=True):
    """One message in the hands of this worker."""

    tenant: str
    email_id: str
    connection: str
    attempt: int
    """1 for the first."""
    size: int
    """Bytes of the stored content."""
    lease: str


class Pending(msgspec.Struct, frozen=True):
    """One recipient who still has to be written to."""

    position: int
    kind: Kind
    email: str
    key: str
    name: str | None


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed message, read as its tenant."""

    id: str
    message_id: str
    tags: list[str]
    metadata: dict[str, str]
    stream: Stream
    test: bool
    content: Content
    pending: list[Pending]


async def due_connections(connection: Connection, now: datetime, after: str, limit: int) -> list[tuple[str, str]]:
    """(connection, tenant) of connections with due work, in the order of their ids from `after` on.

    A loose index scan: one probe a connection, however long its queue is.
    """
    rows = await connection.fetch(
        """WITH RECURSIVE queues AS (
               (SELECT connection_id, tenant_id, due_at FROM email_queue WHERE connection_id > $2
                ORDER BY connection_id, due_at LIMIT 1)
               UNION ALL
               SELECT next.* FROM queues, LATERAL (
                   SELECT connection_id, tenant_id, due_at FROM email_queue
                   WHERE connection_id > queues.connection_id ORDER BY connection_id, due_at LIMIT 1) AS next
           )
           SELECT connection_id, tenant_id FROM queues WHERE due_at <= $1 LIMIT $3""",
        now,
        after,
        limit,
    )
    return [(row["connection_id"], row["tenant_id"]) for row in rows]


async def longest_due(connection: Connection) -> datetime | None:
    """When the longest due message became due, over all connections; None for an empty queue."""
    found: datetime | None = await connection.fetchval(
        """WITH RECURSIVE queues AS (
               (SELECT connection_id, due_at FROM email_queue ORDER BY connection_id, due_at LIMIT 1)
               UNION ALL
               SELECT next.* FROM queues, LATERAL (
                   SELECT connection_id, due_at FROM email_queue WHERE connection_id > queues.connection_id
                   ORDER BY connection_id, due_at LIMIT 1) AS next
           )
           SELECT min(due_at) FROM queues"""
    )
    return found


async def claim(
    connection: Connection, connection_id: str, lease: str, *, limit: int, now: datetime, until: datetime
) -> list[Claim]:
    """Take at most `limit` due messages of one connection, the longest due first; the lease ends at `until`."""
    rows = await connection.fetch(
        """UPDATE email_queue AS queue SET due_at = $5, lease = $2, attempts = attempts + 1
           FROM (SELECT tenant_id, email_id FROM email_queue WHERE connection_id = $1 AND due_at <= $4
                 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS taken
           WHERE queue.tenant_id = taken.tenant_id AND queue.email_id = taken.email_id
           RETURNING queue.tenant_id, queue.email_id, queue.connection_id, queue.attempts, queue.size, queue.lease""",
        connection_id,
        lease,
        limit,
        now,
        until,
    )
    return [Claim(*row) for row in rows]


async def extend(connection: Connection, claims: Sequence[Claim], until: datetime) -> None:
    """Keep what is still being worked on."""
    await connection.execute(
        """UPDATE email_queue AS queue SET due_at = $4
           FROM unnest($1::text[], $2::text[], $3::text[]) AS mine (tenant_id, email_id, lease)
           WHERE queue.tenant_id = mine.tenant_id AND queue.email_id = mine.email_id AND queue.lease = mine.lease""",
        *_columns(claims),
        until,
    )


async def release(connection: Connection, claims: Sequence[Claim], due: datetime) -> None:
    """Give back what was not begun, as if it had never been claimed."""
    await connection.execute(
        """UPDATE email_queue AS queue SET due_at = $4, lease = NULL, attempts = attempts - 1
           FROM unnest($1::text[], $2::text[], $3::text[]) AS mine (tenant_id, email_id, lease)
           WHERE queue.tenant_id = mine.tenant_id AND queue.email_id = mine.email_id AND queue.lease = mine.lease""",
        *_columns(claims),
        due,
    )


def _columns(claims: Sequence[Claim]) -> tuple[list[str], list[str], list[str]]:
    return [c.tenant for c in claims], [c.email_id for c in claims], [c.lease for c in claims]


async def load(connection: Connection, tenant: str, email_ids: Sequence[str]) -> list[Loaded]:
    """Content, and the recipients who have not been written to yet."""
    rows = await connection.fetch(
        """SELECT id, message_id, tags, metadata, stream, test, content
           FROM emails JOIN email_contents ON email_contents.tenant_id = emails.tenant_id AND email_id = id
           WHERE emails.tenant_id = $1 AND id = ANY($2)""",
        tenant,
        list(email_ids),
    )
    people = await connection.fetch(
        """SELECT email_id, position, kind, email, email_key, name FROM email_recipients
           WHERE tenant_id = $1 AND email_id = ANY($2) AND status = 'queued' ORDER BY email_id, position""",
        tenant,
        list(email_ids),
    )
    pending: dict[str, list[Pending]] = {}
    for email_id, *person in people:
        pending.setdefault(email_id, []).append(Pending(*person))
    return [
        Loaded(
            id=row["id"],
            message_id=row["message_id"],
            tags=row["tags"],
            metadata=row["metadata"],
            stream=row["stream"],
            test=row["test"],
            content=unpack(row["content"]),
            pending=pending.get(row["id"], []),
        )
        for row in rows
    ]


async def held(connection: Connection, tenant: str, claims: Sequence[Claim]) -> set[str]:
    """The messages whose lease is still ours; locked until the transaction ends."""
    rows = await connection.fetch(
        """SELECT email_id FROM email_queue
           WHERE tenant_id = $1 AND email_id = ANY($2) AND lease = ANY($3) ORDER BY email_id FOR UPDATE""",
        tenant,
        [claim.email_id for claim in claims],
        list({claim.lease for claim in claims}),
    )
    return {row["email_id"] for row in rows}


async def settle(
    connection: Connection, tenant: str, done: Sequence[str], again: Sequence[tuple[str, datetime, int]]
) -> None:
    """Take `done` out of the queue and put `again` (message, when, attempts so far) back into it."""
    if done:
        await connection.execute(
            "DELETE FROM email_queue WHERE tenant_id = $1 AND email_id = ANY($2)", tenant, list(done)
        )
    if again:
        await connection.execute(
            """UPDATE email_queue AS queue SET due_at = new.due_at, attempts = new.attempts, lease = NULL
               FROM unnest($2::text[], $3::timestamptz[], $4::int[]) AS new (email_id, due_at, attempts)
               WHERE tenant_id = $1 AND queue.email_id = new.email_id""",
            tenant,
            *(list(column) for column in zip(*again, strict=True)),
        )


async def tenants_with_scheduled(connection: Connection, now: datetime, limit: int) -> list[str]:
    """Tenants of the events that have been due longest."""
    rows = await connection.fetch(
        """SELECT DISTINCT tenant_id FROM (
               SELECT tenant_id FROM email_schedule WHERE due_at <= $1 ORDER BY due_at LIMIT $2) AS due""",
        now,
        limit,
    )
    return [row["tenant_id"] for row in rows]


async def forget_unmatched(connection: Connection, before: datetime) -> None:
    """Reports that no receipt ever claimed. The requests they came with are kept elsewhere, as they came."""
    await connection.execute("DELETE FROM email_unmatched WHERE created_at < $1", before)


async def late_matches(connection: Connection, since: datetime) -> list[tuple[str, str, str]]:
    """(tenant, connection, provider's id) of reports since then that have a receipt after all.

    A report and a receipt that are written at the same moment do not see each other; this finds them.
    """
    rows = await connection.fetch(
        """SELECT DISTINCT tenant_id, connection_id, message FROM email_unmatched
           JOIN email_receipts USING (tenant_id, connection_id)
           WHERE provider_id = message AND email_unmatched.created_at >= $1""",
        since,
    )
    return [(row["tenant_id"], row["connection_id"], row["message"]) for row in rows]


async def give_back_of(connection: Connection, worker: int) -> int:
    """End the leases of a dead worker (see `platform.presence`); how many."""
    done = await connection.execute(
        "UPDATE email_queue SET due_at = now(), lease = NULL WHERE lease LIKE $1", f"{worker:08x}.%"
    )
    return int(done.rpartition(" ")[2])
