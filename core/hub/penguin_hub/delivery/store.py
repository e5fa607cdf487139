"""SQL of endpoints, as the API and publishers use it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from penguin_hub.http.paging import Paging
from penguin_hub.platform.db import Connection, Record

# Columns that a tenant's change may name, with their casts.
_CHANGEABLE = {
    "url": "text", "connection_id": "text", "events": "text[]", "description": "text", "filter": "jsonb",
    "headers": "jsonb", "secret_headers": "text[]", "retry": "float8[]", "rate": "float8", "concurrency": "smallint",
    "enabled": "boolean", "disabled_reason": "text", "mode": "text", "auth": "jsonb", "legacy_signature": "jsonb",
    "ordered": "boolean",
}  # fmt: skip


async def set_version(connection: Connection, tenant: str) -> int | None:
    """Of the tenant's set of endpoints; None when he never had any."""
    found = await connection.fetchval("SELECT version FROM webhook_sets WHERE tenant_id = $1", tenant)
    return None if found is None else int(found)


async def bump(connection: Connection, tenant: str) -> None:
    """The set has changed: publishers read it again."""
    await connection.execute(
        "INSERT INTO webhook_sets AS s (tenant_id, version) VALUES ($1, 1) "
        "ON CONFLICT (tenant_id) DO UPDATE SET version = s.version + 1",
        tenant,
    )


async def enabled(connection: Connection, tenant: str) -> list[Record]:
    return await connection.fetch(
        "SELECT id, events, filter, mode, ordered FROM webhooks "
        "WHERE tenant_id = $1 AND enabled AND deleted_at IS NULL ORDER BY id",
        tenant,
    )


async def count(connection: Connection, tenant: str, *, enabled: bool | None = None) -> int:
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM webhooks WHERE tenant_id = $1 AND deleted_at IS NULL "
            "AND ($2::boolean IS NULL OR enabled = $2)",
            tenant,
            enabled,
        )
    )


async def insert(connection: Connection, tenant: str, webhook_id: str, values: Mapping[str, Any]) -> Record:
    """Raises UniqueViolation when the id's tail is taken in this tenant."""
    names = list(values)
    row = await connection.fetchrow(
        f"INSERT INTO webhooks (tenant_id, id, {', '.join(names)}) "
        f"VALUES ($1, $2, {', '.join(f'${n}::{_CHANGEABLE[name]}' for n, name in enumerate(names, 3))}) RETURNING *",
        tenant,
        webhook_id,
        *values.values(),
    )
    if row is None:
        raise RuntimeError("an insert returned nothing")
    return row


async def change(connection: Connection, tenant: str, webhook_id: str, values: Mapping[str, Any]) -> Record | None:
    """Set columns and count the version up, also when nothing but a secret changed."""
    sets = ", ".join(f"{name} = ${n}::{_CHANGEABLE[name]}" for n, name in enumerate(values, 3))
    return await connection.fetchrow(
        f"UPDATE webhooks SET version = version + 1, updated_at = now(){', ' if sets else ''}{sets} "
        "WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING *",
        tenant,
        webhook_id,
        *values.values(),
    )


async def clear_failing(connection: Connection, tenant: str, webhook_id: str) -> None:
    await connection.execute(
        "UPDATE webhooks SET failing_since = NULL, last_failed_at = NULL, warned = 0 WHERE tenant_id = $1 AND id = $2",
        tenant,
        webhook_id,
    )


async def delete(connection: Connection, tenant: str, webhook_id: str) -> bool:
    """The row stays for the log; its address and headers go."""
    done = await connection.fetchval(
        "UPDATE webhooks SET deleted_at = now(), enabled = false, version = version + 1, headers = '{}', "
        "auth = NULL, legacy_signature = NULL, url = CASE WHEN url IS NULL THEN NULL ELSE '' END "
        "WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING true",
        tenant,
        webhook_id,
    )
    return bool(done)


async def get(connection: Connection, tenant: str, webhook_id: str, *, lock: bool = False) -> Record | None:
    return await connection.fetchrow(
        "SELECT * FROM webhooks WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL"
        + (" FOR UPDATE" if lock else ""),
        tenant,
        webhook_id,
    )


async def page(connection: Connection, tenant: str, paging: Paging, *, enabled: bool | None) -> list[Record]:
    order, past = ("DESC", "<") if paging.descending else ("ASC", ">")
    return await connection.fetch(
        f"""
        SELECT * FROM webhooks WHERE tenant_id = $1 AND deleted_at IS NULL AND ($2::boolean IS NULL OR enabled = $2)
            AND ($3::text IS NULL OR id {past} $3) ORDER BY id {order} LIMIT $4 OFFSET $5
        """,
        tenant,
        enabled,
        paging.after[1] if paging.after else None,
        paging.limit + 1,
        paging.offset or 0,
    )


async def stats(connection: Connection, tenant: str, webhook_ids: list[str], since: datetime) -> dict[str, Record]:
    """Sums of the hours since then, by endpoint."""
    rows = await connection.fetch(
        "SELECT webhook_id, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed, "
        "sum(total_ms)::bigint AS total_ms FROM webhook_stats "
        "WHERE tenant_id = $1 AND webhook_id = ANY ($2) AND hour >= $3 GROUP BY webhook_id",
        tenant,
        webhook_ids,
        since,
    )
    return {row["webhook_id"]: row for row in rows}


async def ever(connection: Connection, tenant: str, webhook_id: str) -> bool:
    """Whether the tenant has or had this endpoint."""
    found = await connection.fetchval("SELECT true FROM webhooks WHERE tenant_id = $1 AND id = $2", tenant, webhook_id)
    return bool(found)
