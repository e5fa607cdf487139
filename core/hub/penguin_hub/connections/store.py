"""Connections in PostgreSQL."""

from datetime import datetime
from typing import Any

import msgspec

from penguin_hub.connections.schemas import Row, Trouble
from penguin_hub.http.paging import Paging
from penguin_hub.platform.db import Connection, Record

COLUMNS = (
    "tenant_id, id, workspace_id, plugin, name, config, secrets, secret_version, previous, previous_until, status, "
    "error, error_at, streams, priority, built_in, checked_at, check_ok, check_ms, version, created_at, updated_at"
)
SORTABLE = ("created_at", "updated_at")
_CHANGEABLE = frozenset(
    {"name", "config", "secrets", "secret_version", "previous", "previous_until", "streams", "priority", "status"}
    | {"error", "error_at"}
)


def _row(record: Record) -> Row:
    values = dict(record)
    values["tenant"], values["workspace"] = values.pop("tenant_id"), values.pop("workspace_id")
    return msgspec.convert(values, Row, builtin_types=(datetime,))


async def insert(connection: Connection, tenant: str, row: Row, next_check_at: datetime) -> Row:
    record = await connection.fetchrow(
        f"""INSERT INTO connections (tenant_id, id, workspace_id, plugin, name, config, secrets, secret_version,
                streams, priority, checked_at, check_ok, check_ms, next_check_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING {COLUMNS}""",
        tenant,
        row.id,
        row.workspace,
        row.plugin,
        row.name,
        row.config,
        row.secrets,
        row.secret_version,
        row.streams,
        row.priority,
        row.checked_at,
        row.check_ok,
        row.check_ms,
        next_check_at,
    )
    assert record is not None
    return _row(record)


async def ensure_built_in(connection: Connection, tenant: str, connection_id: str, plugin: str, name: str) -> str:
    """The tenant's built-in connection, made with `connection_id` where there is none yet; gives its id."""
    await connection.execute(
        """INSERT INTO connections (tenant_id, id, workspace_id, plugin, name, config, built_in, next_check_at)
           SELECT $1, $2, id, $3, $4, '{}', true, now() FROM workspaces WHERE tenant_id = $1
           ORDER BY created_at, id LIMIT 1
           ON CONFLICT (tenant_id) WHERE built_in DO NOTHING""",
        tenant,
        connection_id,
        plugin,
        name,
    )
    found: str = await connection.fetchval("SELECT id FROM connections WHERE tenant_id = $1 AND built_in", tenant)
    return found


async def built_in(connection: Connection, tenant: str) -> str | None:
    found: str | None = await connection.fetchval(
        "SELECT id FROM connections WHERE tenant_id = $1 AND built_in", tenant
    )
    return found


async def get(connection: Connection, tenant: str, connection_id: str, *, lock: bool = False) -> Row | None:
    record = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM connections WHERE tenant_id = $1 AND id = $2{' FOR UPDATE' if lock else ''}",
        tenant,
        connection_id,
    )
    return _row(record) if record else None


async def find(connection: Connection, connection_id: str) -> Row | None:
    """By id alone, as the relay role: a provider's request does not name the tenant."""
    record = await connection.fetchrow(f"SELECT {COLUMNS} FROM connections WHERE id = $1", connection_id)
    return _row(record) if record else None


async def choose(connection: Connection, tenant: str, plugins: list[str], stream: str) -> str | None:
    found: str | None = await connection.fetchval(
        """SELECT id FROM connections
           WHERE tenant_id = $1 AND status = 'active' AND NOT built_in AND plugin = ANY($2) AND $3 = ANY(streams)
           ORDER BY priority, id LIMIT 1""",
        tenant,
        plugins,
        stream,
    )
    return found


async def update(
    connection: Connection, tenant: str, connection_id: str, changes: dict[str, Any], version: int
) -> Row | None:
    """None when it is no longer of that version."""
    if not changes.keys() <= _CHANGEABLE:
        raise ValueError("not a column that changes")
    names = sorted(changes)
    assignments = "".join(f"{name} = ${position}, " for position, name in enumerate(names, start=4))
    record = await connection.fetchrow(
        f"""UPDATE connections SET {assignments} version = version + 1, updated_at = now()
            WHERE tenant_id = $1 AND id = $2 AND version = $3 RETURNING {COLUMNS}""",
        tenant,
        connection_id,
        version,
        *(changes[name] for name in names),
    )
    return _row(record) if record else None


async def set_status(
    connection: Connection, tenant: str, connection_id: str, status: str, error: Trouble | None
) -> Row | None:
    """What the provider's answers say of it: no change of the configuration, so no new version."""
    record = await connection.fetchrow(
        f"""UPDATE connections
            SET status = $3, error = $4, error_at = CASE WHEN $4::jsonb IS NULL THEN NULL ELSE now() END
            WHERE tenant_id = $1 AND id = $2 RETURNING {COLUMNS}""",
        tenant,
        connection_id,
        status,
        msgspec.to_builtins(error) if error else None,
    )
    return _row(record) if record else None


async def delete(connection: Connection, tenant: str, connection_id: str, version: int) -> bool:
    done = await connection.fetchval(
        "DELETE FROM connections WHERE tenant_id = $1 AND id = $2 AND version = $3 RETURNING true",
        tenant,
        connection_id,
        version,
    )
    return bool(done)


async def page(
    connection: Connection, tenant: str, paging: Paging, *, plugin: str | None, status: str | None
) -> list[Row]:
    """One row more than asked for, so that the caller knows whether there is another page."""
    if paging.sort_by not in SORTABLE:
        raise ValueError("not a column to sort by")
    where, values = _filters(tenant, plugin, status)
    direction, beyond = ("DESC", "<") if paging.descending else ("ASC", ">")
    if paging.after is not None:
        where += f" AND ({paging.sort_by}, id) {beyond} (${len(values) + 1}, ${len(values) + 2})"
        values += paging.after
    records = await connection.fetch(
        f"""SELECT {COLUMNS} FROM connections WHERE {where}
            ORDER BY {paging.sort_by} {direction}, id {direction}
            LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}""",
        *values,
        paging.limit + 1,
        paging.offset or 0,
    )
    return [_row(record) for record in records]


async def count(connection: Connection, tenant: str, *, plugin: str | None, status: str | None) -> int:
    where, values = _filters(tenant, plugin, status)
    found: int = await connection.fetchval(f"SELECT count(*) FROM connections WHERE {where}", *values)
    return found


async def count_by_plugin(connection: Connection, tenant: str) -> dict[str, int]:
    records = await connection.fetch(
        "SELECT plugin, count(*) AS n FROM connections WHERE tenant_id = $1 AND NOT built_in GROUP BY plugin", tenant
    )
    return {record["plugin"]: record["n"] for record in records}


def _filters(tenant: str, plugin: str | None, status: str | None) -> tuple[str, list[Any]]:
    where, values = "tenant_id = $1", [tenant]
    for name, value in (("plugin", plugin), ("status", status)):
        if value is not None:
            values.append(value)
            where += f" AND {name} = ${len(values)}"
    return where, values
