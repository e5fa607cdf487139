"""Tenants, workspaces, users and sessions in PostgreSQL."""

from datetime import datetime

from penguin_hub.platform.db import Connection, Record
from penguin_hub.tenants.schemas import Session, Tenant, User

_TENANT = """
    SELECT t.id, t.name, t.plan, t.status, t.version,
           (SELECT min(w.id) FROM workspaces w WHERE w.tenant_id = t.id) AS workspace, t.created_at
    FROM tenants t
"""


def _tenant(row: Record | None) -> Tenant | None:
    return Tenant(*row) if row else None


async def insert(connection: Connection, tenant: str, name: str, plan: str) -> None:
    await connection.execute("INSERT INTO tenants (id, name, plan) VALUES ($1, $2, $3)", tenant, name, plan)


async def insert_workspace(connection: Connection, tenant: str, workspace: str, name: str) -> None:
    await connection.execute(
        "INSERT INTO workspaces (tenant_id, id, name) VALUES ($1, $2, $3)", tenant, workspace, name
    )


async def insert_user(
    connection: Connection, tenant: str, user: str, *, email: str, email_key: str, role: str, password_hash: str
) -> None:
    await connection.execute(
        """INSERT INTO users (tenant_id, id, email, email_key, role, password_hash)
           VALUES ($1, $2, $3, $4, $5, $6)""",
        tenant,
        user,
        email,
        email_key,
        role,
        password_hash,
    )


async def get(connection: Connection, tenant: str) -> Tenant | None:
    return _tenant(await connection.fetchrow(_TENANT + "WHERE t.id = $1", tenant))


async def all_tenants(connection: Connection) -> list[Tenant]:
    """For the operator: every tenant, the oldest first."""
    return [Tenant(*row) for row in await connection.fetch(_TENANT + "ORDER BY t.id")]


async def set_status(connection: Connection, tenant: str, status: str) -> None:
    await connection.execute("UPDATE tenants SET status = $2 WHERE id = $1", tenant, status)


async def set_plan(connection: Connection, tenant: str, plan: str) -> None:
    await connection.execute("UPDATE tenants SET plan = $2 WHERE id = $1", tenant, plan)


async def raise_version(connection: Connection, tenant: str) -> int | None:
    """The new version, and a notice to every process when this commits. None when there is no such tenant."""
    version: int | None = await connection.fetchval(
        "UPDATE tenants SET version = version + 1 WHERE id = $1 RETURNING version", tenant
    )
    await connection.execute("SELECT pg_notify('keys', '')")
    return version


async def role(connection: Connection, tenant: str, user: str) -> str | None:
    found: str | None = await connection.fetchval(
        "SELECT role FROM users WHERE tenant_id = $1 AND id = $2", tenant, user
    )
    return found


async def users_by_email(connection: Connection, email_key: str, most: int) -> list[User]:
    """Users with this address, of every tenant: who signs in does not know tenants yet."""
    rows = await connection.fetch(
        """SELECT u.tenant_id, u.id, u.role, u.password_hash, t.name, t.status
           FROM users u JOIN tenants t ON t.id = u.tenant_id WHERE u.email_key = $1 ORDER BY u.tenant_id LIMIT $2""",
        email_key,
        most,
    )
    return [User(*row) for row in rows]


async def insert_session(
    connection: Connection, tenant: str, session: str, user: str, token_hash: bytes, now: datetime, expires: datetime
) -> None:
    await connection.execute(
        """INSERT INTO sessions (tenant_id, id, user_id, token_hash, created_at, expires_at)
           VALUES ($1, $2, $3, $4, $5, $6)""",
        tenant,
        session,
        user,
        token_hash,
        now,
        expires,
    )


async def session_by_token(connection: Connection, token_hash: bytes, now: datetime) -> Session | None:
    """The session, of whatever tenant: the token is the credential that says which."""
    row = await connection.fetchrow(
        """SELECT s.tenant_id, s.id, u.id, u.role, t.plan, t.status, t.version,
                  (SELECT min(w.id) FROM workspaces w WHERE w.tenant_id = t.id), s.expires_at
           FROM sessions s
           JOIN users u ON u.tenant_id = s.tenant_id AND u.id = s.user_id
           JOIN tenants t ON t.id = s.tenant_id
           WHERE s.token_hash = $1 AND s.expires_at > $2""",
        token_hash,
        now,
    )
    return Session(*row) if row else None


async def delete_session(connection: Connection, tenant: str, session: str) -> None:
    await connection.execute("DELETE FROM sessions WHERE tenant_id = $1 AND id = $2", tenant, session)


async def delete_expired_sessions(connection: Connection, now: datetime, most: int) -> int:
    done = await connection.execute(
        """DELETE FROM sessions WHERE (tenant_id, id) IN
               (SELECT tenant_id, id FROM sessions WHERE expires_at <= $1 LIMIT $2)""",
        now,
        most,
    )
    return int(done.rpartition(" ")[2])
