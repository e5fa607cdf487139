"""Brings a database to this version: the restricted roles, then the migrations, one process at a time."""

import contextlib
import io
import os
from urllib.parse import unquote, urlsplit

import structlog
from piccolo.apps.migrations.commands.forwards import ForwardsMigrationManager
from piccolo.apps.migrations.tables import Migration

from penguin_hub import piccolo_conf
from penguin_hub.platform import db
from penguin_hub.platform.errors import SettingsError
from penguin_hub.platform.schema import APP
from penguin_hub.settings import Settings

log = structlog.get_logger(__name__)


class MigrationFailed(Exception):
    """The database could not be brought to this version. It is as it was before the failing file."""


async def migrate(settings: Settings) -> list[str]:
    """Run what has not run yet; returns the names of the migrations that ran.

    Raises SettingsError (DATABASE_URL lacks what is needed), db.DatabaseUnavailable, MigrationFailed.
    """
    url = settings.database_url
    if not urlsplit(url).password:
        raise SettingsError(
            "DATABASE_URL needs a user with a password: those of the hub's own restricted roles are derived from it."
        )
    async with db.owner(url) as connection:
        # Two processes that start together must not both migrate: the second waits here and then finds nothing to do.
        await connection.execute("SELECT pg_advisory_lock(hashtext('penguin-hub migrations'))")
        await _roles(connection, url)
        os.environ["PICCOLO_CONF"] = "penguin_hub.piccolo_conf"
        engine = piccolo_conf.use(url)
        # Piccolo's own table remembers the first engine it met, which may be another database of this process.
        Migration._meta.db = engine
        before = await _ran(connection)
        # Piccolo reports progress by printing; standard output belongs to the command's own answer.
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                outcome = await ForwardsMigrationManager(app_name=APP).run()
            except Exception as error:
                raise MigrationFailed(f"A migration failed and was undone: {type(error).__name__}: {error}") from error
        if not outcome.success:
            raise MigrationFailed(outcome.message or "The migrations could not be run.")
        await engine.close_connection_pool() if engine.pool else None
        done = [name for name in await _ran(connection) if name not in before]
    for name in done:
        log.info("migrated", migration=name)
    return done


async def _ran(connection: db.Connection) -> list[str]:
    if await connection.fetchval("SELECT to_regclass('migration')") is None:
        return []
    return [
        row["name"] for row in await connection.fetch("SELECT name FROM migration WHERE app_name = $1 ORDER BY id", APP)
    ]


async def _roles(connection: db.Connection, url: str) -> None:
    """The two roles that serve requests: they log in, own nothing, and can neither bypass nor change the walls."""
    database = unquote(urlsplit(url).path.lstrip("/")) or "postgres"
    for role in ("app", "system"):
        name = db.role_name(url, role)
        quoted = _quoted(name)
        if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name):
            await connection.execute(f"CREATE ROLE {quoted}")
        await connection.execute(
            f"ALTER ROLE {quoted} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION "
            f"PASSWORD '{db.role_password(url, role)}'"
            if await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            else f"ALTER ROLE {quoted} LOGIN PASSWORD '{db.role_password(url, role)}'"
        )
        await connection.execute(f"GRANT CONNECT ON DATABASE {_quoted(database)} TO {quoted}")
        await connection.execute(f"GRANT USAGE ON SCHEMA public TO {quoted}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
