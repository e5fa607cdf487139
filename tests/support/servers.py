"""The servers that tests run against: embedded ones in a temporary folder, or those the environment names."""

import asyncio
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import redis.asyncio as aioredis
from penguin_hub.platform import db, ids
from penguin_hub.platform.embedded import DataFolder, Postgres, Valkey

TEMPLATE = "penguin_template"
# Databases of tests need not survive a power cut; a fresh one then takes 40 ms instead of 120.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Servers:
    database_url: str
    """A superuser's, or that of a role that may make databases and roles."""
    redis_url: str

    def database(self, name: str) -> str:
        return urlunsplit(urlsplit(self.database_url)._replace(path=f"/{name}"))


@asynccontextmanager
async def running() -> AsyncIterator[Servers]:
    """Embedded servers, or those of PENGUIN_TEST_DATABASE_URL and PENGUIN_TEST_REDIS_URL."""
    database_url = os.environ.get("PENGUIN_TEST_DATABASE_URL")
    redis_url = os.environ.get("PENGUIN_TEST_REDIS_URL")
    if database_url and redis_url:
        yield Servers(database_url, redis_url)
        return
    folder = Path(tempfile.mkdtemp(prefix="penguin-test-"))
    home = DataFolder(folder)
    home.prepare()
    home.lock()
    credentials = home.credentials()
    postgres = Postgres(home, credentials.postgres_password, options=FAST)
    valkey = Valkey(home, credentials.valkey_password)
    try:
        await asyncio.gather(postgres.start(), valkey.start())
        yield Servers(database_url or postgres.url, redis_url or valkey.url)
    finally:
        await asyncio.gather(postgres.stop(), valkey.stop())
        home.forget_sockets()
        home.unlock()
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def administration(servers: Servers) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(servers.database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def create_empty(servers: Servers, name: str) -> str:
    """An empty database of that name, in place of any older one. Returns its URL."""
    async with administration(servers) as connection:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.execute(f'CREATE DATABASE "{name}"')
    return servers.database(name)


@asynccontextmanager
async def fresh_database(servers: Servers) -> AsyncIterator[str]:
    """A migrated database of its own, by URL; dropped at the end.

    Its restricted roles are members of the template's, to whom its grants and policies are.
    """
    name = f"test_{ids.new('tst').removeprefix('tst_')}"
    url = servers.database(name)
    template = servers.database(TEMPLATE)
    roles = [db.role_name(url, role) for role in ("app", "system")]
    async with administration(servers) as connection:
        # PostgreSQL copies the template's files: quicker than writing them through WAL when fsync is off.
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}" STRATEGY file_copy')
        for role in ("app", "system"):
            await connection.execute(
                f"CREATE ROLE \"{db.role_name(url, role)}\" LOGIN PASSWORD '{db.role_password(url, role)}' "
                f'IN ROLE "{db.role_name(template, role)}"'
            )
    try:
        yield url
    finally:
        async with administration(servers) as connection:
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            for role in roles:
                await connection.execute(f'DROP ROLE "{role}"')


def given_to_hub(data: Path) -> dict[str, str]:
    """What a hub with that data folder finds in its environment where the suite runs against servers by URL.

    The database is made at the hub's first start and found again at later ones.
    """
    database_url = os.environ.get("PENGUIN_TEST_DATABASE_URL")
    redis_url = os.environ.get("PENGUIN_TEST_REDIS_URL")
    if not database_url or not redis_url:
        return {}
    given = Servers(database_url, redis_url)
    name = f"hub_{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"

    async def create() -> None:
        async with administration(given) as connection:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name}"')

    # In a thread of its own: the caller may stand in the session's loop.
    thread = threading.Thread(target=lambda: asyncio.run(create()))
    thread.start()
    thread.join()
    return {"DATABASE_URL": given.database(name), "REDIS_URL": redis_url}


async def flush(servers: Servers) -> None:
    client = aioredis.Redis.from_url(servers.redis_url)
    await client.flushall()
    await client.aclose()
