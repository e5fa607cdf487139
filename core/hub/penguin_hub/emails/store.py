"""Messages in PostgreSQL: accepting and showing them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from penguin_hub_sdk.events import Detail

from penguin_hub.emails.content import Draft, unpack
from penguin_hub.emails.schemas import (
    Address,
    Email,
    EmailSummary,
    Recipient,
    Status,
    StoredAttachment,
    TimelineEvent,
)
from penguin_hub.http.paging import Paging
from penguin_hub.platform.db import Connection, Record

COLUMNS = (
    "id, workspace_id, connection_id, plugin, status, stream, test, message_id, sender, sender_name, subject, tags, "
    "metadata, created_at"
)


async def insert(
    connection: Connection,
    tenant: str,
    draft: Draft,
    *,
    email_id: str,
    workspace: str,
    connection_id: str,
    test: bool,
    message_id: str,
    at: datetime,
    content: bytes,
    withheld: dict[str, str],
) -> Status:
    """Write a message with all that belongs to it, in one statement; queued unless everybody in it is withheld.

    `withheld` has the reason for each address key that must not be written to.
    """
    people = draft.recipients
    kept = [person.key not in withheld for person in people]
    status: Status = "queued" if any(kept) else "suppressed"
    await connection.execute(
        _INSERT,
        tenant,
        email_id,
        workspace,
        connection_id,
        status,
        draft.stream,
        test,
        message_id,
        draft.content.sender.email,
        draft.content.sender.name,
        draft.content.subject,
        list(draft.tags),
        draft.metadata,
        at,
        content,
        [person.kind for person in people],
        [person.email for person in people],
        [person.key for person in people],
        [person.name for person in people],
        ["queued" if keep else "suppressed" for keep in kept],
        [withheld.get(person.key) for person in people],
    )
    return status


_INSERT = """
    WITH message AS (
        INSERT INTO emails (tenant_id, id, workspace_id, connection_id, status, stream, test, message_id, sender,
            sender_name, subject, tags, metadata, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
    ), said AS (
        INSERT INTO email_contents (tenant_id, email_id, content) VALUES ($1, $2, $15)
    ), people AS (
        SELECT * FROM unnest($16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[])
            WITH ORDINALITY AS person (kind, email, email_key, name, status, reason, position)
    ), recipients AS (
        INSERT INTO email_recipients (tenant_id, email_id, position, kind, email, email_key, name, status)
        SELECT $1, $2, position, kind, email, email_key, name, status FROM people
    ), tagged AS (
        INSERT INTO email_tags (tenant_id, tag, email_id) SELECT $1, tag, $2 FROM unnest($12::text[]) AS tag
    ), timeline AS (
        INSERT INTO email_events (tenant_id, email_id, key, type, recipient, detail, at)
        SELECT $1, $2, 'queued', 'email.queued', NULL, '{}'::jsonb, $14::timestamptz WHERE $5 = 'queued'
        UNION ALL
        SELECT $1, $2, 'suppressed:' || position, 'email.failed', email,
            jsonb_build_object('reason', 'suppressed', 'code', reason), $14
        FROM people WHERE reason IS NOT NULL
    )
    INSERT INTO email_queue (tenant_id, email_id, connection_id, due_at, size)
    SELECT $1, $2, $4, now(), octet_length($15) WHERE $5 = 'queued'
"""


async def get(connection: Connection, tenant: str, email_id: str) -> Email | None:
    row = await connection.fetchrow(
        f"""SELECT {COLUMNS}, content FROM emails JOIN email_contents USING (tenant_id)
            WHERE tenant_id = $1 AND id = $2 AND email_id = $2""",
        tenant,
        email_id,
    )
    if row is None:
        return None
    people = await _recipients(connection, tenant, [email_id])
    events = await connection.fetch(
        """SELECT type, at, recipient, raw_type, detail FROM email_events
           WHERE tenant_id = $1 AND email_id = $2 ORDER BY at, created_at LIMIT 1000""",
        tenant,
        email_id,
    )
    content = unpack(row["content"])
    return Email(
        **_common(row),
        recipients=people.get(email_id, []),
        reply_to=[Address(one.email, one.name) for one in content.reply_to],
        html=content.html,
        text=content.text,
        headers=content.headers,
        attachments=[
            StoredAttachment(one.filename, one.content_type, len(one.content), one.content_id)
            for one in content.attachments
        ],
        events=[
            TimelineEvent(kind, at, recipient, raw_type, msgspec.convert(detail, Detail))
            for kind, at, recipient, raw_type, detail in events
        ],
    )


async def page(connection: Connection, tenant: str, paging: Paging, filters: dict[str, Any]) -> list[EmailSummary]:
    """One row more than asked for, so that the caller knows whether there is another page. By time, which is by id."""
    where, values = _where(tenant, filters)
    direction, beyond = ("DESC", "<") if paging.descending else ("ASC", ">")
    if paging.after is not None:
        values.append(paging.after[1])
        where += f" AND id {beyond} ${len(values)}"
    values += (paging.limit + 1, paging.offset or 0)
    rows = await connection.fetch(
        f"""SELECT {COLUMNS} FROM emails WHERE {where}
            ORDER BY id {direction} LIMIT ${len(values) - 1} OFFSET ${len(values)}""",
        *values,
    )
    people = await _recipients(connection, tenant, [row["id"] for row in rows])
    return [EmailSummary(**_common(row), recipients=people.get(row["id"], [])) for row in rows]


async def count(connection: Connection, tenant: str, filters: dict[str, Any]) -> int:
    where, values = _where(tenant, filters)
    found: int = await connection.fetchval(f"SELECT count(*) FROM emails WHERE {where}", *values)
    return found


# What a list can be narrowed by, and how. `{}` is the value's place.
_FILTERS = {
    "test": "test = {}",
    "status": "status = {}",
    "connection": "connection_id = {}",
    "first": "id >= {}",
    "beyond": "id < {}",
    "tag": "id IN (SELECT email_id FROM email_tags WHERE tenant_id = $1 AND tag = {})",
    "recipient": "id IN (SELECT email_id FROM email_recipients WHERE tenant_id = $1 AND email_key = {})",
}


def _where(tenant: str, filters: dict[str, Any]) -> tuple[str, list[Any]]:
    where, values = "tenant_id = $1", [tenant]
    for name, value in filters.items():
        if value is not None:
            values.append(value)
            where += " AND " + _FILTERS[name].format(f"${len(values)}")
    return where, values


async def _recipients(connection: Connection, tenant: str, email_ids: Sequence[str]) -> dict[str, list[Recipient]]:
    rows = await connection.fetch(
        """SELECT email_id, kind, email, name, status FROM email_recipients
           WHERE tenant_id = $1 AND email_id = ANY($2) ORDER BY email_id, position""",
        tenant,
        list(email_ids),
    )
    found: dict[str, list[Recipient]] = {}
    for email_id, *person in rows:
        found.setdefault(email_id, []).append(Recipient(*person))
    return found


def _common(row: Record) -> dict[str, Any]:
    return {
        "id": row["id"],
        "workspace": row["workspace_id"],
        "connection": row["connection_id"],
        "plugin": row["plugin"],
        "status": row["status"],
        "stream": row["stream"],
        "test": row["test"],
        "message_id": row["message_id"],
        "sender": Address(row["sender"], row["sender_name"]),
        "subject": row["subject"],
        "tags": row["tags"],
        "metadata": row["metadata"],
        "created_at": row["created_at"],
    }
