"""Workers die with work in their hands, and others take it over. Their leases are shortened (see support.part)."""

import asyncio
import time
from collections import Counter

from support.cluster import LEASE
from support.part import POINTS
from support.town import Town

# A second for the look that finds the lapsed lease, and two for a busy machine.
TAKEN_OVER_SECONDS = LEASE + 3.0


async def test_w24_a_delivery_whose_worker_died_after_the_receiver_got_it_comes_once_more(town: Town) -> None:
    """At most two copies, with one id and one body; the event's other endpoints get no extra copy."""
    (tenant,) = await town.settle(1, ["block", "ok", "ok"])
    async with town.workers("w1"):
        await town.producer.do("event", tenant)
        await town.sink.until(lambda sink: len(sink.copies) == 3, 15)
        await town.settled(left=1)
        town.cluster.kill("w1")
    killed = time.monotonic()
    town.sink.gate.set()
    async with town.workers("w2"):
        await town.sink.until(lambda sink: len(sink.of(tenant.id, "block")) == 2, TAKEN_OVER_SECONDS)
        assert time.monotonic() - killed <= TAKEN_OVER_SECONDS
        report = await town.judged(10)
    assert report.is_clean, str(report)
    first, second = town.sink.of(tenant.id, "block")
    assert (first.id, first.body) == (second.id, second.body)
    assert [len(town.sink.of(tenant.id, name)) for name in ("ok", "ok2")] == [1, 1]


async def test_w24_workers_that_die_at_chosen_lines_lose_nothing(town: Town) -> None:
    """At each point of support.part: around the claim, the answers, their notes, the provider's yes and its reports.

    One death follows the other, so that what the dead had in hand lapses while the next is on its way.
    """
    tenants = await town.settle(2, ["ok", "flaky", "dead"], postmark=True)
    points = [point for point in POINTS if not point.startswith("api.")]
    async with town.workers("w"), town.cluster.reviving():
        for point in points:
            town.cluster.arm(point)
            await asyncio.gather(
                *(
                    town.producer.do(kind, tenant)
                    for tenant in tenants
                    for kind in ("event", "batch", "email", "inbound")
                )
            )
            async with asyncio.timeout(20):
                while list(town.cluster.armed.iterdir()):
                    await asyncio.sleep(0.02)
        report = await town.judged(faults=len(points))
    assert report.is_clean, str(report)
    assert report.accepted == len(points) * 8


async def test_w28_three_workers_share_the_work_and_take_over_what_a_dead_one_held(town: Town) -> None:
    """Twenty producers and four thousand deliveries, each done once. Then one dies: only what it had may come twice."""
    (tenant,) = await town.settle(1, ["ok"] * 20)
    async with town.workers("w1", "w2", "w3"):
        await town.all_at_work(tenant)
        warmed = len(town.sink.copies)

        async def produce() -> None:
            for _ in range(2):
                await town.producer.do("batch", tenant)

        await asyncio.gather(*(produce() for _ in range(20)))
        report = await town.judged(30)
        assert report.is_clean, str(report)
        assert len(town.sink.copies) - warmed == 4000
        assert not report.duplicates
        shares = Counter(copy.headers["user-agent"] for copy in town.sink.copies[warmed:])
        assert len(shares) == 3, shares
        assert min(shares.values()) >= 4000 / 3 / 2, shares

        others = await town.settle(2, ["slow", "ok", "ok"])
        await town.all_at_work(others[0])
        async with town.under_load(60, kinds=("event", "batch")):
            await town.sink.until(lambda sink: sum(c.headers["user-agent"] == "w1" for c in sink.copies) > 100, 20)
            town.cluster.kill("w1")
        report = await town.judged(TAKEN_OVER_SECONDS + 10)
    assert report.is_clean, str(report)
    holders: dict[tuple[str, str, str], list[str]] = {}
    for copy in town.sink.copies:
        holders.setdefault((*copy.endpoint, copy.id), []).append(copy.headers["user-agent"])
    assert all(names[0] == "w1" for names in holders.values() if len(names) > 1)
