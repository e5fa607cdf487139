"""Contacts in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

from penguin_hub.contacts.schemas import Contact, Known
from penguin_hub.http.paging import Paging
from penguin_hub.platform.db import Connection, Record

COLUMNS = "id, workspace_id, email, first_name, last_name, tags, attributes, created_at, updated_at, version"

SORTABLE = ("created_at", "updated_at")


def _contact(row: Record) -> Contact:
    return Contact(*row)


async def insert(connection: Connection, tenant: str, values: dict[str, Any]) -> Contact:
    """Raises db.UniqueViolation when the tenant has that address already."""
    row = await connection.fetchrow(
        f"""INSERT INTO contacts
                (tenant_id, id, workspace_id, email, email_key, first_name, last_name, tags, attributes)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {COLUMNS}""",
        tenant,
        *(values[name] for name in _INSERTED),
    )
    assert row is not None
    return _contact(row)


_INSERTED = ("id", "workspace_id", "email", "email_key", "first_name", "last_name", "tags", "attributes")
_CHANGEABLE = frozenset(_INSERTED[2:])


async def get(connection: Connection, tenant: str, contact_id: str) -> Contact | None:
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM contacts WHERE tenant_id = $1 AND id = $2", tenant, contact_id
    )
    return _contact(row) if row else None


async def id_by_email(connection: Connection, tenant: str, email_key: str) -> str | None:
    found: str | None = await connection.fetchval(
        "SELECT id FROM contacts WHERE tenant_id = $1 AND email_key = $2", tenant, email_key
    )
    return found


async def known(connection: Connection, tenant: str, email_keys: Sequence[str]) -> dict[str, Known]:
    """Those of these addresses that are contacts."""
    rows = await connection.fetch(
        "SELECT email_key, id, tags FROM contacts WHERE tenant_id = $1 AND email_key = ANY($2)",
        tenant,
        list(email_keys),
    )
    return {row["email_key"]: Known(row["id"], row["tags"]) for row in rows}


async def update(
    connection: Connection, tenant: str, contact_id: str, changes: dict[str, Any], version: int | None
) -> Contact | None:
    """None when there is no such contact, or none of that version. Raises db.UniqueViolation."""
    if not changes.keys() <= _CHANGEABLE:
        raise ValueError("not a column that changes")
    names = sorted(changes)
    assignments = "".join(f"{name} = ${position}, " for position, name in enumerate(names, start=4))
    row = await connection.fetchrow(
        f"""UPDATE contacts SET {assignments} version = version + 1, updated_at = now()
            WHERE tenant_id = $1 AND id = $2 AND ($3::int IS NULL OR version = $3) RETURNING {COLUMNS}""",
        tenant,
        contact_id,
        version,
        *(changes[name] for name in names),
    )
    return _contact(row) if row else None


async def delete(connection: Connection, tenant: str, contact_id: str, version: int | None) -> Contact | None:
    row = await connection.fetchrow(
        f"""DELETE FROM contacts
            WHERE tenant_id = $1 AND id = $2 AND ($3::int IS NULL OR version = $3) RETURNING {COLUMNS}""",
        tenant,
        contact_id,
        version,
    )
    return _contact(row) if row else None


async def page(
    connection: Connection, tenant: str, paging: Paging, *, email_key: str | None, tag: str | None
) -> list[Contact]:
    """One row more than asked for, so that the caller knows whether there is another page."""
    where, values = _filters(tenant, email_key, tag)
    direction, beyond = ("DESC", "<") if paging.descending else ("ASC", ">")
    if paging.after is not None:
        where += f" AND ({_sort(paging)}, id) {beyond} (${len(values) + 1}, ${len(values) + 2})"
        values += paging.after
    rows = await connection.fetch(
        f"""SELECT {COLUMNS} FROM contacts WHERE {where}
            ORDER BY {_sort(paging)} {direction}, id {direction}
            LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}""",
        *values,
        paging.limit + 1,
        paging.offset or 0,
    )
    return [_contact(row) for row in rows]


async def count(connection: Connection, tenant: str, *, email_key: str | None, tag: str | None) -> int:
    where, values = _filters(tenant, email_key, tag)
    found: int = await connection.fetchval(f"SELECT count(*) FROM contacts WHERE {where}", *values)
    return found


def _filters(tenant: str, email_key: str | None, tag: str | None) -> tuple[str, list[Any]]:
    where, values = "tenant_id = $1", [tenant]
    for condition, value in (("email_key = ${}", email_key), ("tags @> ARRAY[${}]", tag)):
        if value is not None:
            values.append(value)
            where += " AND " + condition.format(len(values))
    return where, values


def _sort(paging: Paging) -> str:
    if paging.sort_by not in SORTABLE:
        raise ValueError("not a column to sort by")
    return paging.sort_by
