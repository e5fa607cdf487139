"""The words migrations are written in: a script of SQL, and the statements every tenant table needs.

Roles: `{app}` in a script is the application role (bound to one tenant by row-level security), `{system}` the role of
the outbox and of look-ups before a tenant is known. Both are made by `migrate`, own nothing and bypass nothing.
"""

from collections.abc import Awaitable, Callable

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder
from piccolo.engine.postgres import PostgresEngine

from penguin_hub.platform.db import role_name

APP = "penguin_hub"

# What a policy compares with. An unset tenant is NULL, which equals nothing: no tenant, no rows.
_BOUND = "nullif(current_setting('app.tenant', true), '')"


def migration(migration_id: str, script: Callable[[], str]) -> Callable[[], Awaitable[MigrationManager]]:
    """The `forwards` of a migration file: runs `script`'s SQL in one transaction."""

    async def run() -> None:
        # A coroutine function and not a lambda: Piccolo looks at which it is to decide whether to await.
        await _run(script())

    async def forwards() -> MigrationManager:
        manager = MigrationManager(migration_id=migration_id, app_name=APP, description=migration_id)
        manager.add_raw(run)
        return manager

    return forwards


def tenant_table(
    name: str,
    *,
    app: str = "select, insert, update, delete",
    system: str | None = None,
    column: str = "tenant_id",
) -> str:
    """Walls for one table of tenants' rows: forced row-level security, the tenant's policy, grants.

    `system` names what the relay role may do across tenants; None (the usual case) means nothing at all.
    """
    statements = f"""
        ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE {name} FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant ON {name} FOR ALL TO "{{app}}"
            USING ({column} = {_BOUND}) WITH CHECK ({column} = {_BOUND});
        GRANT {app} ON {name} TO "{{app}}";
    """
    if system:
        statements += f"""
        CREATE POLICY relay ON {name} FOR ALL TO "{{system}}" USING (true) WITH CHECK (true);
        GRANT {system} ON {name} TO "{{system}}";
        """
    return statements


async def _run(script: str) -> None:
    engine = engine_finder()
    if not isinstance(engine, PostgresEngine):
        raise RuntimeError("migrations run through penguin_hub.migrate")
    url = str(engine.config["dsn"])
    for role in ("app", "system"):
        script = script.replace("{" + role + "}", role_name(url, role).replace('"', '""'))
    transaction = engine.current_transaction.get()
    if transaction is None:
        raise RuntimeError("a migration runs inside a transaction")
    await transaction.connection.execute(script)
