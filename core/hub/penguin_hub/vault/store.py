"""The embedded store's rows. The only importer of its SQL; knows nothing of what is inside the bytes."""

from collections.abc import Sequence

from penguin_hub.platform.db import Connection, Record
from penguin_hub.vault.envelope import Sealed


async def lock(connection: Connection, tenant: str, path: str) -> None:
    """One writer of a path at a time, also while the path has no row yet. Ends with the transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"secret {tenant} {path}")


async def lock_keks(connection: Connection) -> None:
    """One changer of the key file at a time, on all nodes."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('penguin-hub key file', 0))")


async def share_keks(connection: Connection) -> None:
    """Nobody changes the key file until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended('penguin-hub key file', 0))")


async def head(connection: Connection, tenant: str, path: str) -> Record | None:
    return await connection.fetchrow(
        "SELECT current_version, key_id, nonce, seal FROM secret_paths WHERE tenant_id = $1 AND path = $2", tenant, path
    )


async def read(connection: Connection, tenant: str, path: str, version: int | None) -> Record | None:
    """The head and, when it is there, the version (NULL asks for the latest)."""
    return await connection.fetchrow(
        """
        SELECT h.current_version, h.key_id AS head_key_id, h.nonce AS head_nonce, h.seal,
               s.version, s.key_id, s.nonce, s.ciphertext, s.created_at, s.deleted_at
        FROM secret_paths h
        LEFT JOIN secrets s ON s.tenant_id = h.tenant_id AND s.path = h.path
                           AND s.version = coalesce($3, h.current_version)
        WHERE h.tenant_id = $1 AND h.path = $2
        """,
        tenant,
        path,
        version,
    )


async def versions(connection: Connection, tenant: str, path: str) -> list[Record]:
    return await connection.fetch(
        "SELECT version, created_at, deleted_at, ciphertext IS NULL AS destroyed FROM secrets "
        "WHERE tenant_id = $1 AND path = $2 ORDER BY version",
        tenant,
        path,
    )


async def put_head(connection: Connection, tenant: str, path: str, current: int, *, key_id: str, seal: Sealed) -> None:
    await connection.execute(
        """
        INSERT INTO secret_paths (tenant_id, path, current_version, key_id, nonce, seal) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (tenant_id, path) DO UPDATE
        SET current_version = excluded.current_version, key_id = excluded.key_id,
            nonce = excluded.nonce, seal = excluded.seal
        """,
        tenant,
        path,
        current,
        key_id,
        seal.nonce,
        seal.ciphertext,
    )


async def add_version(
    connection: Connection, tenant: str, path: str, version: int, *, key_id: str, sealed: Sealed
) -> None:
    await connection.execute(
        "INSERT INTO secrets (tenant_id, path, version, key_id, nonce, ciphertext) VALUES ($1, $2, $3, $4, $5, $6)",
        tenant,
        path,
        version,
        key_id,
        sealed.nonce,
        sealed.ciphertext,
    )


async def drop_versions(connection: Connection, tenant: str, path: str, up_to: int) -> None:
    await connection.execute(
        "DELETE FROM secrets WHERE tenant_id = $1 AND path = $2 AND version <= $3", tenant, path, up_to
    )


async def delete_latest(connection: Connection, tenant: str, path: str) -> None:
    await connection.execute(
        """
        UPDATE secrets s SET deleted_at = coalesce(s.deleted_at, now()) FROM secret_paths h
        WHERE h.tenant_id = $1 AND h.path = $2 AND s.tenant_id = $1 AND s.path = $2
          AND s.version = h.current_version AND s.ciphertext IS NOT NULL
        """,
        tenant,
        path,
    )


async def destroy(connection: Connection, tenant: str, path: str, versions: Sequence[int]) -> None:
    await connection.execute(
        "UPDATE secrets SET key_id = NULL, nonce = NULL, ciphertext = NULL "
        "WHERE tenant_id = $1 AND path = $2 AND version = ANY($3::int[])",
        tenant,
        path,
        versions,
    )


async def erase(connection: Connection, tenant: str, path: str) -> None:
    await connection.execute("DELETE FROM secret_paths WHERE tenant_id = $1 AND path = $2", tenant, path)


async def names(connection: Connection, tenant: str, prefix: str) -> list[str]:
    """The names directly under `prefix`; folders end with a slash."""
    # The slash is followed by "0" in the byte order that the column's "C" collation compares by.
    found = await connection.fetch(
        """
        SELECT DISTINCT split_part(rest, '/', 1) || CASE WHEN strpos(rest, '/') > 0 THEN '/' ELSE '' END AS name
        FROM (SELECT substr(path, length($2) + 2) AS rest FROM secret_paths
              WHERE tenant_id = $1 AND path >= $2 || '/' AND path < $2 || '0') AS under
        """,
        tenant,
        prefix,
    )
    return sorted(row["name"] for row in found)


async def use_active_key(connection: Connection, tenant: str, messages: int) -> Record | None:
    """The key that encrypts now, with `messages` more counted. Its row stays locked until the transaction ends, so no
    rotation can retire it in between."""
    return await connection.fetchrow(
        "UPDATE secret_keys SET messages = messages + $2 WHERE tenant_id = $1 AND active "
        "RETURNING id, kek_id, nonce, wrapped, messages",
        tenant,
        messages,
    )


async def key(connection: Connection, tenant: str, key_id: str) -> Record | None:
    return await connection.fetchrow(
        "SELECT id, kek_id, nonce, wrapped FROM secret_keys WHERE tenant_id = $1 AND id = $2", tenant, key_id
    )


async def active_key(connection: Connection, tenant: str) -> Record | None:
    return await connection.fetchrow(
        "SELECT tenant_id, id, kek_id, nonce, wrapped FROM secret_keys WHERE tenant_id = $1 AND active", tenant
    )


async def add_active_key(connection: Connection, tenant: str, key_id: str, *, kek_id: str, wrapped: Sealed) -> bool:
    """False when the tenant has an active key by now."""
    return bool(
        await connection.fetchval(
            """
            INSERT INTO secret_keys (tenant_id, id, kek_id, nonce, wrapped, active) VALUES ($1, $2, $3, $4, $5, true)
            ON CONFLICT (tenant_id) WHERE active DO NOTHING RETURNING true
            """,
            tenant,
            key_id,
            kek_id,
            wrapped.nonce,
            wrapped.ciphertext,
        )
    )


async def retire_active_key(connection: Connection, tenant: str) -> None:
    await connection.execute("UPDATE secret_keys SET active = false WHERE tenant_id = $1 AND active", tenant)


async def sealed_by_others(connection: Connection, tenant: str) -> int:
    """How many heads and versions are not sealed by the active key."""
    return int(
        await connection.fetchval(
            """
            WITH old AS (SELECT id FROM secret_keys WHERE tenant_id = $1 AND NOT active)
            SELECT (SELECT count(*) FROM secrets WHERE tenant_id = $1 AND key_id IN (SELECT id FROM old))
                 + (SELECT count(*) FROM secret_paths WHERE tenant_id = $1 AND key_id IN (SELECT id FROM old))
            """,
            tenant,
        )
    )


async def take_old_versions(connection: Connection, tenant: str, limit: int) -> list[Record]:
    return await connection.fetch(
        """
        SELECT path, version, key_id, nonce, ciphertext FROM secrets
        WHERE tenant_id = $1 AND key_id IN (SELECT id FROM secret_keys WHERE tenant_id = $1 AND NOT active)
        ORDER BY path, version LIMIT $2 FOR UPDATE
        """,
        tenant,
        limit,
    )


async def take_old_heads(connection: Connection, tenant: str, limit: int) -> list[Record]:
    return await connection.fetch(
        """
        SELECT path, current_version, key_id, nonce, seal FROM secret_paths
        WHERE tenant_id = $1 AND key_id IN (SELECT id FROM secret_keys WHERE tenant_id = $1 AND NOT active)
        ORDER BY path LIMIT $2 FOR UPDATE
        """,
        tenant,
        limit,
    )


async def reseal_version(
    connection: Connection, tenant: str, path: str, version: int, *, key_id: str, sealed: Sealed
) -> None:
    await connection.execute(
        "UPDATE secrets SET key_id = $4, nonce = $5, ciphertext = $6 "
        "WHERE tenant_id = $1 AND path = $2 AND version = $3",
        tenant,
        path,
        version,
        key_id,
        sealed.nonce,
        sealed.ciphertext,
    )


async def drop_unused_keys(connection: Connection, tenant: str) -> None:
    await connection.execute(
        """
        DELETE FROM secret_keys k WHERE tenant_id = $1 AND NOT active
          AND NOT EXISTS (SELECT FROM secrets s WHERE s.tenant_id = $1 AND s.key_id = k.id)
          AND NOT EXISTS (SELECT FROM secret_paths h WHERE h.tenant_id = $1 AND h.key_id = k.id)
        """,
        tenant,
    )


async def keks_in_use(connection: Connection) -> list[Record]:
    """Across tenants (relay role): each key-encryption key in use, with one data key that it wraps."""
    return await connection.fetch(
        "SELECT DISTINCT ON (kek_id) kek_id, tenant_id, id, nonce, wrapped FROM secret_keys "
        "ORDER BY kek_id, tenant_id, id"
    )


async def take_wrapped_by_others(connection: Connection, kek_id: str, limit: int) -> list[Record]:
    """Across tenants (relay role): data keys that another key-encryption key wraps."""
    return await connection.fetch(
        "SELECT tenant_id, id, kek_id, nonce, wrapped FROM secret_keys WHERE kek_id <> $1 "
        "ORDER BY tenant_id, id LIMIT $2 FOR UPDATE",
        kek_id,
        limit,
    )


async def rewrap(connection: Connection, tenant: str, key_id: str, *, kek_id: str, wrapped: Sealed) -> None:
    await connection.execute(
        "UPDATE secret_keys SET kek_id = $3, nonce = $4, wrapped = $5 WHERE tenant_id = $1 AND id = $2",
        tenant,
        key_id,
        kek_id,
        wrapped.nonce,
        wrapped.ciphertext,
    )
