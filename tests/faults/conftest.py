"""A town to break: a hub of several processes, tenants with endpoints of every kind, a producer and a sink."""

from collections.abc import AsyncIterator

import pytest_asyncio
from support.town import Town, founded


@pytest_asyncio.fixture(scope="session")
async def founded_town() -> AsyncIterator[Town]:
    """Servers and two API processes, started once."""
    async with founded() as made:
        yield made


@pytest_asyncio.fixture
async def town(founded_town: Town) -> AsyncIterator[Town]:
    """Without workers: each test starts its own. What a test kills is started again for the next."""
    yield founded_town
    cluster = founded_town.cluster
    founded_town.sink.gate.clear()
    cluster.disarm()
    await cluster.remove(*(name for name in cluster.parts if not name.startswith("api-")))
    cluster.right_clocks()
    cluster.poison.unlink(missing_ok=True)
    for name, part in cluster.parts.items():
        if not part.is_alive:
            cluster.start(part)
            await cluster.ready(cluster.ports[int(name.removeprefix("api-")) - 1])
