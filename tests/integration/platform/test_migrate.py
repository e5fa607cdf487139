"""Migrating: once, for each database by itself, and by one process at a time."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from penguin_hub import settings as settings_module
from penguin_hub.migrate import migrate
from penguin_hub.platform import db
from penguin_hub.platform.errors import SettingsError
from penguin_hub.settings import Settings
from support import servers as support
from support.servers import Servers


async def empty(servers: Servers, name: str) -> Settings:
    url = await support.create_empty(servers, name)
    return settings_module.build({}, data=Path(), database_url=url, redis_url=servers.redis_url)


async def test_each_database_of_a_process_is_migrated(servers: Servers) -> None:
    first, second = await empty(servers, "migrate_first"), await empty(servers, "migrate_second")
    done = await migrate(first)
    assert done
    assert await migrate(second) == done
    assert await migrate(first) == []
    async with db.owner(second.database_url) as owner:
        assert await owner.fetchval("SELECT to_regclass('contacts') IS NOT NULL")


async def test_two_at_once_do_not_meet(servers: Servers) -> None:
    settings = await empty(servers, "migrate_both")
    both = await asyncio.gather(migrate(settings), migrate(settings))
    assert sorted(map(bool, both)) == [False, True]


async def test_a_url_without_a_password_is_refused(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="password"):
        await migrate(msgspec.structs.replace(settings, database_url="postgresql://somebody@/hub"))
