"""SIGTERM: what was begun ends, the rest is given back, and all of it within the grace that operators give."""

import asyncio
import time

from penguin_hub.platform.db import owner
from support.town import Town

IN_FLIGHT = 500
GRACE_SECONDS = 35.0


async def test_w27_sigterm_with_500_in_flight_loses_and_doubles_nothing(town: Town) -> None:
    """With the real lease and deadline. The receivers answer a second after the signal."""
    tenants = await town.settle(3, ["block"] * 5)
    town.sink.gate.set()
    await town.cluster.work("w1", lease=None)
    # Answers open the windows, until the worker dares to have enough under way.
    for _ in range(3):
        await asyncio.gather(*(town.producer.do("batch", tenant) for tenant in tenants for _ in range(10)))
        assert (report := await town.judged(20)).is_clean, str(report)
    town.sink.gate.clear()
    before = len(town.sink.copies)
    await asyncio.gather(*(town.producer.do("batch", tenant) for tenant in tenants for _ in range(20)))
    await town.sink.until(lambda sink: len(sink.copies) - before >= IN_FLIGHT, 20)

    began = time.monotonic()
    ending = asyncio.create_task(town.cluster.end("w1"))
    await asyncio.sleep(1)
    assert not ending.done(), "it did not wait for what was under way"
    town.sink.gate.set()
    assert await ending == 0
    assert time.monotonic() - began < GRACE_SECONDS
    sent = len(town.sink.copies) - before
    async with owner(town.cluster.settings.database_url) as connection:
        left, leased = await connection.fetchrow("SELECT count(*), count(lease_until) FROM delivery_queue") or (0, 0)
    assert leased == 0, "a lease was left behind"
    assert left == 3 * 20 * 5 * 5 - sent, "what was answered was not noted"

    async with town.workers("w2"):
        report = await town.judged(20)
    assert report.is_clean, str(report)
    assert not report.duplicates
    assert report.delivered == report.promised
