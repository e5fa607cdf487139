"""SQL of the catalogue."""

from penguin_hub.platform.db import Connection, Record

COLUMNS = "name, description, schema, example, version, created_at, updated_at"


async def set_version(connection: Connection, tenant: str) -> int | None:
    """Of the tenant's types together; None when he never described any."""
    found: int | None = await connection.fetchval("SELECT version FROM event_type_sets WHERE tenant_id = $1", tenant)
    return found


async def bump(connection: Connection, tenant: str) -> None:
    """The types have changed: publishers read them again. Holds back other changes until this one is committed."""
    await connection.execute(
        "INSERT INTO event_type_sets AS s (tenant_id, version) VALUES ($1, 1) "
        "ON CONFLICT (tenant_id) DO UPDATE SET version = s.version + 1",
        tenant,
    )


async def names(connection: Connection, tenant: str) -> dict[str, int]:
    """Name -> version."""
    rows = await connection.fetch("SELECT name, version FROM event_types WHERE tenant_id = $1", tenant)
    return {row["name"]: row["version"] for row in rows}


async def count(connection: Connection, tenant: str) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM event_types WHERE tenant_id = $1", tenant))


async def get(connection: Connection, tenant: str, name: str) -> Record | None:
    return await connection.fetchrow(
        f"SELECT {COLUMNS} FROM event_types WHERE tenant_id = $1 AND name = $2", tenant, name
    )


async def page(connection: Connection, tenant: str, *, after: str | None, limit: int, descending: bool) -> list[Record]:
    order, past = ("DESC", "<") if descending else ("ASC", ">")
    return await connection.fetch(
        f"SELECT {COLUMNS} FROM event_types WHERE tenant_id = $1 AND ($2::text IS NULL OR name {past} $2) "
        f"ORDER BY name {order} LIMIT $3",
        tenant,
        after,
        limit,
    )


async def insert(
    connection: Connection, tenant: str, name: str, description: str, schema: str, example: str
) -> Record | None:
    """None when the tenant has the type already."""
    return await connection.fetchrow(
        "INSERT INTO event_types (tenant_id, name, description, schema, example) VALUES ($1, $2, $3, $4, $5) "
        f"ON CONFLICT DO NOTHING RETURNING {COLUMNS}",
        tenant,
        name,
        description,
        schema,
        example,
    )


async def replace(
    connection: Connection, tenant: str, name: str, description: str, schema: str, example: str
) -> Record | None:
    """None when there is no such type."""
    return await connection.fetchrow(
        "UPDATE event_types SET description = $3, schema = $4, example = $5, version = version + 1, "
        f"updated_at = now() WHERE tenant_id = $1 AND name = $2 RETURNING {COLUMNS}",
        tenant,
        name,
        description,
        schema,
        example,
    )


async def delete(connection: Connection, tenant: str, name: str) -> bool:
    found = await connection.fetchval(
        "DELETE FROM event_types WHERE tenant_id = $1 AND name = $2 RETURNING true", tenant, name
    )
    return bool(found)
