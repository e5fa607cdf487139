"""Suppressions in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

from penguin_hub.emails.suppressions.schemas import Found, Suppression
from penguin_hub.http.paging import Paging
from penguin_hub.platform import ids
from penguin_hub.platform.db import Connection, Record

COLUMNS = "id, email, reason, stream, source, created_at"


def _suppression(row: Record) -> Suppression:
    return Suppression(*row)


async def add(connection: Connection, tenant: str, found: Sequence[Found], source: str) -> list[Suppression]:
    """Those that are new; an address that is suppressed already keeps its first reason."""
    rows = await connection.fetch(
        f"""INSERT INTO suppressions (tenant_id, id, test, email, email_key, stream, reason, source)
            SELECT $1, id, test, email, key, stream, reason, $2
            FROM unnest($3::text[], $4::bool[], $5::text[], $6::text[], $7::text[], $8::text[])
                AS new (id, test, email, key, stream, reason)
            ORDER BY key, stream
            ON CONFLICT (tenant_id, test, email_key, stream) DO NOTHING
            RETURNING {COLUMNS}""",
        tenant,
        source,
        [ids.new("sup") for _ in found],
        [one.test for one in found],
        [one.email for one in found],
        [one.key for one in found],
        [one.stream for one in found],
        [one.reason for one in found],
    )
    return [_suppression(row) for row in rows]


async def find(connection: Connection, tenant: str, keys: Sequence[str]) -> list[tuple[str, bool, str, str]]:
    """(address key, test, stream, reason) of all that stand against these addresses."""
    rows = await connection.fetch(
        "SELECT email_key, test, stream, reason FROM suppressions WHERE tenant_id = $1 AND email_key = ANY($2)",
        tenant,
        list(keys),
    )
    return [tuple(row) for row in rows]


async def lift(connection: Connection, tenant: str, test: bool, keys: Sequence[str]) -> None:
    """Take back unsubscriptions, and nothing else: a bounce or a complaint stands."""
    await connection.execute(
        """DELETE FROM suppressions
           WHERE tenant_id = $1 AND test = $2 AND email_key = ANY($3) AND reason = 'unsubscribe'""",
        tenant,
        test,
        list(keys),
    )


async def id_of(connection: Connection, tenant: str, test: bool, email_key: str, stream: str) -> str | None:
    found: str | None = await connection.fetchval(
        "SELECT id FROM suppressions WHERE tenant_id = $1 AND test = $2 AND email_key = $3 AND stream = $4",
        tenant,
        test,
        email_key,
        stream,
    )
    return found


async def delete(connection: Connection, tenant: str, test: bool, suppression_id: str) -> bool:
    """Whether it was there."""
    return bool(
        await connection.fetchval(
            "DELETE FROM suppressions WHERE tenant_id = $1 AND test = $2 AND id = $3 RETURNING true",
            tenant,
            test,
            suppression_id,
        )
    )


async def page(
    connection: Connection, tenant: str, paging: Paging, *, test: bool, **filters: str | None
) -> list[Suppression]:
    """One row more than asked for, so that the caller knows whether there is another page."""
    where, values = _where(tenant, test, filters)
    direction, beyond = ("DESC", "<") if paging.descending else ("ASC", ">")
    if paging.after is not None:
        values.append(paging.after[1])
        where += f" AND id {beyond} ${len(values)}"
    values += (paging.limit + 1, paging.offset or 0)
    rows = await connection.fetch(
        f"""SELECT {COLUMNS} FROM suppressions WHERE {where}
            ORDER BY id {direction} LIMIT ${len(values) - 1} OFFSET ${len(values)}""",
        *values,
    )
    return [_suppression(row) for row in rows]


async def count(connection: Connection, tenant: str, *, test: bool, **filters: str | None) -> int:
    where, values = _where(tenant, test, filters)
    found: int = await connection.fetchval(f"SELECT count(*) FROM suppressions WHERE {where}", *values)
    return found


_FILTERS = frozenset({"email_key", "reason", "stream"})


def _where(tenant: str, test: bool, filters: dict[str, str | None]) -> tuple[str, list[Any]]:
    if not filters.keys() <= _FILTERS:
        raise ValueError("not a column to filter by")
    where, values = "tenant_id = $1 AND test = $2", [tenant, test]
    for name in sorted(filters):
        if filters[name] is not None:
            values.append(filters[name])
            where += f" AND {name} = ${len(values)}"
    return where, values
