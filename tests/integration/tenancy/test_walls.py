"""A28: the walls between tenants, asked of PostgreSQL's own catalogue, so that a new table cannot be forgotten."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from penguin_hub.platform import db, ids
from penguin_hub.settings import Settings

# Tables without tenants' rows, each with its reason.
NOT_TENANTS = {
    "migration": "Piccolo's own list of what ran",
    "workers": "which processes are alive; no tenant's data, and closed to the application's role",
}

# Functions that run as the tables' owner, each with its reason. None of them may be called by the application's role.
DEFINERS = {
    "hub_partition_make": "the relay role makes tomorrow's partitions, and owns nothing",
    "hub_partition_drop": "retention drops partitions",
}


@pytest.fixture
async def owner(settings: Settings, database: db.Database) -> AsyncIterator[db.Connection]:
    async with db.owner(settings.database_url) as connection:
        yield connection


async def tenant_tables(owner: db.Connection) -> list[str]:
    """Every ordinary or partitioned table of ours, partitions themselves left out: they are reached by their parent."""
    rows = await owner.fetch(
        """SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
           WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition"""
    )
    return sorted({row["relname"] for row in rows} - NOT_TENANTS.keys())


async def test_a28_every_table_forces_row_level_security(owner: db.Connection) -> None:
    rows = await owner.fetch(
        """SELECT relname, relrowsecurity AND relforcerowsecurity AS walled FROM pg_class
           JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'public' AND relkind IN ('r', 'p')"""
    )
    bare = {row["relname"] for row in rows if not row["walled"]} - NOT_TENANTS.keys()
    partitions = {row["relname"] for row in await owner.fetch("SELECT relname FROM pg_class WHERE relispartition")}
    assert bare - partitions == set()
    # A partition has no wall of its own, so nobody but its owner may reach it directly.
    reachable = await owner.fetch(
        """SELECT table_name FROM information_schema.role_table_grants
           WHERE grantee LIKE '%\\_app' AND table_name = ANY($1::text[])""",
        list(bare & partitions),
    )
    assert reachable == []


async def test_a28_every_tenants_policy_covers_reads_and_writes(owner: db.Connection) -> None:
    policies = await owner.fetch("SELECT tablename, qual, with_check, cmd, roles FROM pg_policies")
    for table in await tenant_tables(owner):
        own = [p for p in policies if p["tablename"] == table and any(r.endswith("_app") for r in p["roles"])]
        assert own, f"{table} has no policy for the application's role"
        for policy in own:
            assert policy["cmd"] == "ALL", table
            assert "app.tenant" in (policy["qual"] or ""), table
            assert "app.tenant" in (policy["with_check"] or ""), table


async def test_a28_every_unique_index_starts_with_the_tenant(owner: db.Connection) -> None:
    rows = await owner.fetch(
        """SELECT c.relname AS tbl, i.relname AS idx, a.attname AS first
           FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
           JOIN pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0]
           WHERE nspname = 'public' AND x.indisunique"""
    )
    wrong = {
        (row["tbl"], row["idx"])
        for row in rows
        if row["first"] != "tenant_id" and row["tbl"] not in NOT_TENANTS and row["tbl"] != "tenants"
    }
    assert wrong == set()


async def test_a28_no_view_reads_around_the_walls(owner: db.Connection) -> None:
    rows = await owner.fetch(
        """SELECT relname, relkind::text, coalesce(reloptions::text, '') AS options FROM pg_class
           JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'public' AND relkind IN ('v', 'm')"""
    )
    assert [r["relname"] for r in rows if r["relkind"] == "m" or "security_invoker=true" not in r["options"]] == []


async def test_a28_no_function_runs_with_its_owners_rights(owner: db.Connection, settings: Settings) -> None:
    rows = await owner.fetch(
        """SELECT proname, has_function_privilege($1, p.oid, 'EXECUTE') AS callable
           FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public' AND prosecdef""",
        db.role_name(settings.database_url, "app"),
    )
    assert {row["proname"] for row in rows} <= DEFINERS.keys()
    assert [row["proname"] for row in rows if row["callable"]] == []


@pytest.mark.parametrize("role", ["app", "system"])
async def test_a28_the_serving_roles_have_no_power(owner: db.Connection, settings: Settings, role: str) -> None:
    name = db.role_name(settings.database_url, role)
    row = await owner.fetchrow(
        "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles WHERE rolname = $1",
        name,
    )
    assert row is not None
    assert not any(row.values())
    assert await owner.fetchval("SELECT count(*) FROM pg_class WHERE relowner = $1::regrole", f'"{name}"') == 0
    # It may belong to a role that is as powerless (as it does here, where databases are copied), to no other.
    powers = await owner.fetch(
        """SELECT rolname FROM pg_roles WHERE pg_has_role($1::name, oid, 'MEMBER')
           AND (rolsuper OR rolbypassrls OR rolcreaterole OR oid = (SELECT datdba FROM pg_database
                WHERE datname = current_database()))""",
        name,
    )
    assert powers == []


async def test_a28_the_application_cannot_step_out(database: db.Database, settings: Settings) -> None:
    tenant = ids.new("ten")
    admin = await asyncpg.connect(settings.database_url)
    owner_name = await admin.fetchval("SELECT current_user")
    await admin.close()
    for statement in (f'SET ROLE "{owner_name}"', f'SET SESSION AUTHORIZATION "{owner_name}"'):
        with pytest.raises(asyncpg.PostgresError):
            async with database.tenant(tenant) as connection:
                await connection.execute(statement)
    async with database.tenant(tenant) as connection:
        # The setting can be made, and then makes every read of a walled table an error instead of an answer.
        await connection.execute("SET LOCAL row_security = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM contacts")
        await connection.execute("ROLLBACK; BEGIN")


async def test_a28_every_table_is_empty_for_a_tenant_that_has_nothing(
    database: db.Database, owner: db.Connection
) -> None:
    """Read every table as a tenant nobody knows, and without any tenant at all."""
    tables = await tenant_tables(owner)
    assert {"contacts", "tenants", "api_keys"} <= set(tables)
    granted = {
        row["table_name"]
        for row in await owner.fetch(
            "SELECT table_name FROM information_schema.role_table_grants WHERE grantee LIKE '%\\_app' "
            "AND privilege_type = 'SELECT'"
        )
    }
    async with database.tenant(ids.new("ten")) as connection:
        for table in sorted(granted.intersection(tables)):
            assert await connection.fetch(f'SELECT 1 FROM "{table}" LIMIT 1') == [], table
        await connection.execute("SELECT set_config('app.tenant', '', true)")
        for table in sorted(granted.intersection(tables)):
            assert await connection.fetch(f'SELECT 1 FROM "{table}" LIMIT 1') == [], table
