"""Messages in PostgreSQL: what becomes of them. Each function is one step of a transaction that locked the messages."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from penguin_hub_sdk.events import Detail, ProviderEvent

from penguin_hub.emails.timeline import Person, Tracked
from penguin_hub.platform.db import Connection


class Entry(msgspec.Struct, frozen=True):
    """One line of a timeline."""

    email_id: str
    key: str
    type: str
    at: datetime
    recipient: str | None = None
    detail: Detail = Detail()
    raw_type: str | None = None


async def lock(connection: Connection, tenant: str, email_ids: Iterable[str]) -> dict[str, Tracked]:
    """The messages of these ids that exist, locked in the order of ids so that two lockers never wait in a ring."""
    rows = await connection.fetch(
        """SELECT id, workspace_id, connection_id, plugin, status, test, message_id, subject, tags, metadata
           FROM emails WHERE tenant_id = $1 AND id = ANY($2) ORDER BY id FOR NO KEY UPDATE""",
        tenant,
        list(email_ids),
    )
    found = {row["id"]: Tracked(*row) for row in rows}
    people = await connection.fetch(
        """SELECT email_id, position, email, email_key, status FROM email_recipients
           WHERE tenant_id = $1 AND email_id = ANY($2) ORDER BY email_id, position""",
        tenant,
        list(found),
    )
    for email_id, *person in people:
        found[email_id].people.append(Person(*person))
    return found


async def by_provider_id(
    connection: Connection, tenant: str, connection_id: str, provider_ids: Sequence[str]
) -> dict[str, str]:
    """The provider's id -> ours, for those that a receipt named."""
    rows = await connection.fetch(
        """SELECT provider_id, email_id FROM email_receipts
           WHERE tenant_id = $1 AND connection_id = $2 AND provider_id = ANY($3)""",
        tenant,
        connection_id,
        list(provider_ids),
    )
    return {row["provider_id"]: row["email_id"] for row in rows}


async def add_entries(connection: Connection, tenant: str, entries: Sequence[Entry]) -> set[tuple[str, str]]:
    """(email, key) of those that are new: a repeated report is none."""
    rows = await connection.fetch(
        """INSERT INTO email_events (tenant_id, email_id, key, type, raw_type, recipient, detail, at)
           SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[],
               $8::timestamptz[])
           ON CONFLICT DO NOTHING RETURNING email_id, key""",
        tenant,
        [entry.email_id for entry in entries],
        [entry.key for entry in entries],
        [entry.type for entry in entries],
        [entry.raw_type for entry in entries],
        [entry.recipient for entry in entries],
        [msgspec.to_builtins(entry.detail) for entry in entries],
        [entry.at for entry in entries],
    )
    return {(row["email_id"], row["key"]) for row in rows}


async def save(connection: Connection, tenant: str, emails: Sequence[Tracked]) -> None:
    """Write the states of messages and people that changed."""
    await connection.execute(
        """UPDATE emails SET status = new.status, plugin = new.plugin
           FROM unnest($2::text[], $3::text[], $4::text[]) AS new (id, status, plugin)
           WHERE tenant_id = $1 AND emails.id = new.id
               AND (emails.status, emails.plugin) IS DISTINCT FROM (new.status, new.plugin)""",
        tenant,
        [email.id for email in emails],
        [email.status for email in emails],
        [email.plugin for email in emails],
    )
    people = [(email.id, person.position, person.status) for email in emails for person in email.people]
    await connection.execute(
        """UPDATE email_recipients AS old SET status = new.status
           FROM unnest($2::text[], $3::int[], $4::text[]) AS new (email_id, position, status)
           WHERE tenant_id = $1 AND old.email_id = new.email_id AND old.position = new.position
               AND old.status <> new.status""",
        tenant,
        *(list(column) for column in zip(*people, strict=True)),
    )


async def add_receipts(connection: Connection, tenant: str, connection_id: str, receipts: Mapping[str, str]) -> None:
    """Keep the provider's ids (our id -> the provider's)."""
    await connection.execute(
        """INSERT INTO email_receipts (tenant_id, connection_id, email_id, provider_id)
           SELECT $1, $2, * FROM unnest($3::text[], $4::text[]) ON CONFLICT DO NOTHING""",
        tenant,
        connection_id,
        list(receipts),
        list(receipts.values()),
    )


async def take_unmatched(
    connection: Connection, tenant: str, connection_id: str, provider_ids: Sequence[str]
) -> list[ProviderEvent]:
    """Take out the reports on these messages that had come before they were known."""
    rows = await connection.fetch(
        """DELETE FROM email_unmatched WHERE tenant_id = $1 AND connection_id = $2 AND message = ANY($3)
           RETURNING event""",
        tenant,
        connection_id,
        list(provider_ids),
    )
    return [msgspec.msgpack.decode(row["event"], type=ProviderEvent) for row in rows]


async def keep_unmatched(
    connection: Connection, tenant: str, connection_id: str, events: Sequence[ProviderEvent]
) -> set[str]:
    """Keep reports on messages that are not known; the keys of those that are new."""
    rows = await connection.fetch(
        """INSERT INTO email_unmatched (tenant_id, connection_id, message, key, event)
           SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::bytea[])
           ON CONFLICT DO NOTHING RETURNING key""",
        tenant,
        connection_id,
        [event.message or "" for event in events],
        [event.key for event in events],
        [msgspec.msgpack.encode(event) for event in events],
    )
    return {row["key"] for row in rows}


async def schedule(
    connection: Connection, tenant: str, connection_id: str, events: Sequence[tuple[str, ProviderEvent]]
) -> None:
    """Keep (our id, event) until the event's own time."""
    await connection.execute(
        """INSERT INTO email_schedule (tenant_id, connection_id, email_id, key, due_at, event)
           SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::bytea[])
           ON CONFLICT DO NOTHING""",
        tenant,
        connection_id,
        [email_id for email_id, _ in events],
        [event.key for _, event in events],
        [event.at for _, event in events],
        [msgspec.msgpack.encode(event) for _, event in events],
    )


async def take_scheduled(
    connection: Connection, tenant: str, now: datetime, limit: int
) -> dict[str, list[ProviderEvent]]:
    """Take out what is due, by connection. Undone with the caller's transaction when that fails."""
    rows = await connection.fetch(
        """DELETE FROM email_schedule WHERE (tenant_id, email_id, key) IN (
               SELECT tenant_id, email_id, key FROM email_schedule WHERE tenant_id = $1 AND due_at <= $2
               ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
           RETURNING connection_id, event""",
        tenant,
        now,
        limit,
    )
    found: dict[str, list[ProviderEvent]] = {}
    for connection_id, event in rows:
        found.setdefault(connection_id, []).append(msgspec.msgpack.decode(event, type=ProviderEvent))
    return found
