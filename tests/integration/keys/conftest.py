"""One API process in miniature on a database of the test's own; more of them with `make_node`."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from penguin_hub.platform.db import Database
from penguin_hub.settings import Settings
from penguin_hub.vault import open_store
from support.keys import MakeNode, Node, SealableStore, nodes


@pytest_asyncio.fixture
async def secrets(settings: Settings, database: Database) -> AsyncIterator[SealableStore]:
    store = await open_store(settings, database)
    yield SealableStore(store)
    await store.close()


@pytest_asyncio.fixture
async def make_node(settings: Settings, secrets: Any) -> AsyncIterator[MakeNode]:
    async with nodes(settings, secrets) as make:
        yield make


@pytest_asyncio.fixture
async def node(make_node: MakeNode) -> Node:
    return await make_node()
