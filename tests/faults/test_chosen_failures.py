"""A failing endpoint's window stands in the database, and not in a process."""

import asyncio
from datetime import datetime
from typing import Any

from penguin_hub.platform.db import owner
from support.checker import snapshot
from support.town import Town

WINDOW = 8.0
"""Seconds; more than it takes to start a worker, because a silence longer than the window ends it."""


async def test_w33_the_failure_window_survives_restarts(town: Town) -> None:
    """The worker is killed twice while the window runs; the third one disables the endpoint, and says since when."""
    (tenant,) = await town.settle(1, ["dead", "ok"])
    endpoint = tenant.endpoints["dead"].id

    async def row() -> Any:
        async with owner(town.cluster.settings.database_url) as connection:
            return await connection.fetchrow(
                "SELECT enabled, failing_since, last_failed_at FROM webhooks WHERE id = $1", endpoint
            )

    since: set[datetime] = set()
    last: datetime | None = None
    for name in ("w1", "w2", "w3"):
        await town.cluster.work(name, window=WINDOW)
        await town.producer.do("event", tenant)
        async with asyncio.timeout(15):
            while (now := await row())["last_failed_at"] == last:
                await asyncio.sleep(0.05)
        last = now["last_failed_at"]
        since.add(now["failing_since"])
        if name != "w3":
            town.cluster.kill(name)
    assert len(since) == 1, "a restart began the window anew"
    async with asyncio.timeout(30):
        while (now := await row())["enabled"]:
            await town.producer.do("event", tenant)
            await asyncio.sleep(0.3)
    await town.settled(left=0)
    state = await snapshot(town.cluster.settings.database_url, [tenant])
    (told,) = [event for event in state.events.values() if event.type == "endpoint.disabled"]
    assert told.data["reason"] == "failing"
    assert datetime.fromisoformat(told.data["failing_since"]) == since.pop()
