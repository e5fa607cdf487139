"""Tenants for tests that need a principal and nothing of keys."""

from penguin_hub.http.guards import SCOPES
from penguin_hub.http.principal import Environment, Principal
from penguin_hub.platform import ids
from penguin_hub.platform.db import Database


async def make_principal(
    database: Database, *, environment: Environment = "live", plan: str = "enterprise"
) -> Principal:
    """A new tenant with one workspace, seen by a key that may do everything."""
    tenant, workspace = ids.new("ten"), ids.new("wsp")
    async with database.system() as connection:
        await connection.execute("INSERT INTO tenants (id, name, plan) VALUES ($1, 'Test', $2)", tenant, plan)
        await connection.execute(
            "INSERT INTO workspaces (tenant_id, id, name) VALUES ($1, $2, 'Default')", tenant, workspace
        )
    return Principal(
        tenant=tenant,
        workspace=workspace,
        actor=ids.new("key"),
        scopes=frozenset(SCOPES),
        environment=environment,
        admin=True,
        plan=plan,
    )
