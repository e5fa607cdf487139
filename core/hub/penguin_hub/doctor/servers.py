"""The servers: PostgreSQL, Redis, the secret store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from penguin_hub.doctor.finding import Finding, fail, ok, warn
from penguin_hub.platform import db
from penguin_hub.platform.errors import HubError, SettingsError
from penguin_hub.platform.redis import Redis, RedisUnavailable
from penguin_hub.settings import Settings

LEAST_POSTGRES = 150000
LEAST_REDIS = (7, 0)
MOST_SKEW = timedelta(seconds=2)


async def postgres(settings: Settings) -> list[Finding]:
    """Reachable, new enough, migrated, and the hub's roles walled in; its clock beside ours."""
    try:
        async with db.owner(settings.database_url) as connection:
            return [
                await _version(connection),
                await _durability(connection),
                await _clock(connection),
                await _migrations(connection),
                await _roles(connection, settings.database_url),
            ]
    except HubError as error:
        return [fail("postgresql", "It cannot be used.", error.detail)]


async def _version(connection: db.Connection) -> Finding:
    number = int(await connection.fetchval("SHOW server_version_num"))
    shown = await connection.fetchval("SHOW server_version")
    if number < LEAST_POSTGRES:
        return fail("postgresql", f"PostgreSQL {shown} answers.", "Upgrade it to 15 or later.")
    return ok("postgresql", f"PostgreSQL {shown} answers.")


async def _durability(connection: db.Connection) -> Finding:
    unsafe = [
        name
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if await connection.fetchval("SELECT current_setting($1)", name) == "off"
    ]
    if unsafe:
        return warn("durability", f"{' and '.join(unsafe)} off.", "Turn them on: what the hub accepts may be lost.")
    return ok("durability", "What is committed is on disk.")


async def _clock(connection: db.Connection) -> Finding:
    before = datetime.now(UTC)
    theirs = await connection.fetchval("SELECT clock_timestamp()")
    after = datetime.now(UTC)
    skew = theirs - (before + (after - before) / 2)
    what = f"PostgreSQL's clock differs from this machine's by {abs(skew.total_seconds()):.3f} s."
    if abs(skew) > MOST_SKEW + (after - before):
        return warn("clock", what, "Let both keep time by NTP: signatures and schedules depend on it.")
    return ok("clock", what)


async def _migrations(connection: db.Connection) -> Finding:
    from penguin_hub import migrations  # noqa: PLC0415 -- a package of scripts, of which only the names are wanted

    files = {file.stem for file in Path(migrations.__file__).parent.glob("hub_*.py")}
    if await connection.fetchval("SELECT to_regclass('public.migration')") is None:
        return fail("migrations", "The database has never been migrated.", "Run `penguin migrate`.")
    ran = await connection.fetchval("SELECT count(*) FROM migration WHERE app_name = 'penguin_hub'")
    if ran < len(files):
        return fail("migrations", f"{len(files) - ran} of {len(files)} have not run.", "Run `penguin migrate`.")
    if ran > len(files):
        return fail("migrations", "The database belongs to a newer hub.", "Install that version of the hub.")
    return ok("migrations", f"All {len(files)} have run.")


async def _roles(connection: db.Connection, url: str) -> Finding:
    """Row-level security holds nobody who is a superuser, may bypass it, or owns the tables."""
    names = [db.role_name(url, role) for role in ("app", "system")]
    rows = await connection.fetch(
        """SELECT rolname, rolsuper OR rolbypassrls OR rolcreaterole AS mighty,
                  EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid AND relnamespace = 'public'::regnamespace)
                      AS owns
           FROM pg_roles WHERE rolname = ANY($1)""",
        names,
    )
    missing = set(names) - {row["rolname"] for row in rows}
    if missing:
        return fail("roles", f"{' and '.join(sorted(missing))} missing.", "Run `penguin migrate`.")
    unsafe = [row["rolname"] for row in rows if row["mighty"] or row["owns"]]
    if unsafe:
        advice = "Take superuser, BYPASSRLS, CREATEROLE and ownership of tables from them."
        return fail("roles", f"{' and '.join(unsafe)} could pass the walls between tenants.", advice)
    return ok("roles", "The hub's roles can neither pass nor change the walls between tenants.")


async def redis(settings: Settings) -> list[Finding]:
    """Reachable, new enough, runs Lua."""
    client = Redis(settings.redis_url, connections=1)
    try:
        info = _info(await client.call("INFO", "server"))
        shown = info.get("valkey_version") or info.get("redis_version", "?")
        spoken = info.get("redis_version", "0.0")
        answer = await client.script("return redis.call('TIME')[1]", [], [])
    except RedisUnavailable as error:
        where = urlsplit(settings.redis_url).hostname or "its socket"
        why = type(error.__cause__ or error).__name__
        advice = "Check that it runs, REDIS_URL and its password. Without it limits are kept per process only."
        return [fail("redis", f"Redis at {where} cannot be used ({why}).", advice)]
    finally:
        await client.close()
    if tuple(int(part) for part in spoken.split(".")[:2]) < LEAST_REDIS:
        return [fail("redis", f"Redis {shown} answers.", "Upgrade it to 7 or later, or use Valkey.")]
    if not answer:
        return [fail("redis", f"Redis {shown} runs no Lua scripts.", "Allow EVAL and EVALSHA for this user.")]
    return [ok("redis", f"Redis or Valkey {shown} answers and runs scripts.")]


def _info(raw: bytes | dict[str, str]) -> dict[str, str]:
    if isinstance(raw, dict):
        return {key: str(value) for key, value in raw.items()}
    lines = (line.split(":", 1) for line in raw.decode().splitlines() if ":" in line)
    return {key: value.strip() for key, value in lines}


async def secrets(settings: Settings) -> list[Finding]:
    """The Vault answers and is not sealed, or the embedded store's key is there and fits."""
    from penguin_hub.vault import open_store  # noqa: PLC0415 -- a Vault client is imported only where there is a Vault

    kind = "Vault" if settings.vault_addr else "The embedded store"
    database = db.Database(settings.database_url, app_size=1, system_size=1)
    try:
        await database.open()
        store = await open_store(settings, database)
        try:
            await store.check()
        finally:
            await store.close()
    except HubError as error:
        return [fail("secrets", f"{kind} cannot be used.", error.detail)]
    except SettingsError as error:
        return [fail("secrets", f"{kind} cannot be used.", str(error))]
    finally:
        await database.close()
    return [ok("secrets", f"{kind} answers.")]
