"""One API process in miniature on a database of the test's own; more of them with `make_node`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest_asyncio
from penguin_hub.platform.db import Database
from penguin_hub.settings import Settings
from penguin_hub.vault import open_store
from support.keys import FlakyRedis, Node, SealableStore

MakeNode = Callable[..., Awaitable[Node]]


@pytest_asyncio.fixture
async def secrets(settings: Settings, database: Database) -> AsyncIterator[SealableStore]:
    store = await open_store(settings, database)
    yield SealableStore(store)
    await store.close()


@pytest_asyncio.fixture
async def make_node(settings: Settings, secrets: Any) -> AsyncIterator[MakeNode]:
    """A further process: pools, caches and Redis connections of its own."""
    async with AsyncExitStack() as opened:

        async def make(**options: Any) -> Node:
            database = Database(settings.database_url, app_size=4, system_size=4)
            await database.open()
            opened.push_async_callback(database.close)
            options = {"settings": settings, "secrets": secrets, "redis": FlakyRedis(settings.redis_url), **options}
            node = await Node(database=database, **options).open()
            opened.push_async_callback(node.redis.close)
            opened.push_async_callback(node.close)
            return node

        yield make


@pytest_asyncio.fixture
async def node(make_node: MakeNode) -> Node:
    return await make_node()
