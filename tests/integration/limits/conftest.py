"""The same processes in miniature as for keys."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest_asyncio
from penguin_hub.platform.db import Database
from penguin_hub.settings import Settings
from penguin_hub.vault import open_store
from support.keys import FlakyRedis, Node

MakeNode = Callable[..., Awaitable[Node]]


@pytest_asyncio.fixture
async def make_node(settings: Settings, database: Database) -> AsyncIterator[MakeNode]:
    """A process with pools, caches and Redis connections of its own."""
    async with AsyncExitStack() as opened:
        secrets = await open_store(settings, database)
        opened.push_async_callback(secrets.close)

        async def make(**options: Any) -> Node:
            pools = Database(settings.database_url, app_size=4, system_size=4)
            await pools.open()
            opened.push_async_callback(pools.close)
            options = {"settings": settings, "secrets": secrets, "redis": FlakyRedis(settings.redis_url), **options}
            node = await Node(database=pools, **options).open()
            opened.push_async_callback(node.redis.close)
            opened.push_async_callback(node.close)
            return node

        yield make


@pytest_asyncio.fixture
async def node(make_node: MakeNode) -> Node:
    return await make_node()
