"""Workers whose clocks are wrong, and jump. The clock is the hub's own (`platform.clock`), moved inside the process."""

import asyncio

from support.town import Town

HOUR = 3600.0


async def test_clocks_that_are_hours_apart_and_jump_lose_and_double_nothing(town: Town) -> None:
    """Due times and leases are the database's: nobody sends early, late, or what another one holds."""
    await town.settle(2, ["ok", "slow", "flaky", "dead"])
    for name, offset in (("w1", HOUR), ("w2", -HOUR), ("w3", 0.0)):
        town.cluster.set_clock(name, offset)
    async with town.workers("w1", "w2", "w3"):
        async with town.under_load(60, kinds=("event", "batch")):
            for offset in (2 * HOUR, -2 * HOUR):
                await asyncio.sleep(1.5)
                town.cluster.set_clock("w3", offset)
            await asyncio.sleep(1)
        report = await town.judged(20, faults=0)
    assert report.is_clean, str(report)
    assert not report.duplicates
    stamps = {int(copy.headers["webhook-timestamp"]) // 1800 for copy in town.sink.copies}
    assert len(stamps) >= 3, "the clocks were not moved"
