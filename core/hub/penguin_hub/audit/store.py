"""The audit log in PostgreSQL: added to and read, never changed."""

from datetime import datetime
from typing import Any

from penguin_hub.audit.schemas import AuditEntry
from penguin_hub.http.paging import Paging
from penguin_hub.platform.db import Connection


async def insert(connection: Connection, tenant: str, entry: AuditEntry) -> None:
    await connection.execute(
        """INSERT INTO audit_log (tenant_id, id, at, actor, action, target, detail, ip)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)""",
        tenant,
        entry.id,
        entry.at,
        entry.actor,
        entry.action,
        entry.target,
        entry.detail,
        entry.ip,
    )


async def page(
    connection: Connection,
    tenant: str,
    paging: Paging,
    *,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[AuditEntry]:
    """One row more than asked for, so that the caller knows whether there is another page."""
    where, values = _filters(tenant, actor, action, target, since, until)
    direction, beyond = ("DESC", "<") if paging.descending else ("ASC", ">")
    if paging.after is not None:
        where += f" AND (at, id) {beyond} (${len(values) + 1}, ${len(values) + 2})"
        values += paging.after
    rows = await connection.fetch(
        f"""SELECT id, at, actor, action, target, detail, ip FROM audit_log WHERE {where}
            ORDER BY at {direction}, id {direction} LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}""",
        *values,
        paging.limit + 1,
        paging.offset or 0,
    )
    return [AuditEntry(*row) for row in rows]


async def count(
    connection: Connection,
    tenant: str,
    *,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    where, values = _filters(tenant, actor, action, target, since, until)
    found: int = await connection.fetchval(f"SELECT count(*) FROM audit_log WHERE {where}", *values)
    return found


def _filters(tenant: str, *given: Any) -> tuple[str, list[Any]]:
    where, values = "tenant_id = $1", [tenant]
    for condition, value in zip(("actor = ", "action = ", "target = ", "at >= ", "at < "), given, strict=True):
        if value is not None:
            values.append(value)
            where += f" AND {condition}${len(values)}"
    return where, values
