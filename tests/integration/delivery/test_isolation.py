"""One endpoint's or tenant's trouble stays his own: CASES W30 to W32."""

import asyncio
import statistics

from penguin_hub.delivery.slots import BREAK_AFTER
from support.delivery import OK, Call, Engine, Receiver
from support.tenants import make_principal


async def test_w30_a_black_hole_does_not_slow_another_tenant(engine: Engine, receiver: Receiver) -> None:
    async def never(_: Call, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    receiver.answers["/hole"] = never
    other = await make_principal(engine.database)
    await engine.endpoint(receiver.url("/hole"))
    mine, engine.principal = engine.principal, other
    await engine.endpoint(receiver.url("/good"))
    engine.principal = mine

    async def latencies(count: int) -> list[float]:
        found = []
        for _ in range(count):
            already, started = len(receiver.at("/good")), asyncio.get_running_loop().time()
            await engine.publish(tenant=other.tenant)
            await receiver.until(lambda already=already: len(receiver.at("/good")) > already)
            found.append(asyncio.get_running_loop().time() - started)
        return found

    # A deadline this short only ends the test sooner; the slots are what is tested.
    async with engine.working(slots=16, deadline=2.0):
        await latencies(5)
        idle = statistics.median(await latencies(30))
        for _ in range(5):
            await engine.publish_many(1000)
        await receiver.until(lambda: bool(receiver.at("/hole")))
        busy = statistics.median(await latencies(30))
        held = len(receiver.at("/hole"))
    assert held <= 4
    assert busy < idle * 2 + 0.02


async def test_w31_a_rate_is_kept_and_uses_up_no_retries(engine: Engine, receiver: Receiver) -> None:
    await engine.endpoint(receiver.url(), rate=20.0)
    await engine.publish_many(60)
    stop = asyncio.Event()
    workers = [asyncio.create_task(engine.worker().run(stop)) for _ in range(2)]
    await receiver.until(lambda: len(receiver.calls) == 60)
    found = await engine.finished(60)
    stop.set()
    await asyncio.gather(*workers)
    took = receiver.calls[-1].at - receiver.calls[0].at
    assert 2.8 <= took <= 3.7
    times = [call.at for call in receiver.calls]
    assert all(sum(start <= at < start + 1 for at in times) <= 22 for start in times)
    assert {one.attempts for one in found} == {1}


async def test_w32_the_breaker_opens_probes_and_closes_and_probes_cost_no_retries(
    engine: Engine, receiver: Receiver
) -> None:
    async def hang_up(_: Call, writer: asyncio.StreamWriter) -> None:
        writer.close()

    receiver.answers["/"] = hang_up
    await engine.endpoint(receiver.url(), retry=[0.2], concurrency=4)
    await engine.publish_many(BREAK_AFTER + 30)
    async with engine.working():
        await receiver.until(lambda: len(receiver.calls) >= BREAK_AFTER)
        await asyncio.sleep(1.0)
        stopped_at = len(receiver.calls)
        # Those that were under way when it opened, and no more.
        assert stopped_at <= BREAK_AFTER + 4
        await receiver.until(lambda: len(receiver.calls) > stopped_at, seconds=10)
        await asyncio.sleep(0.5)
        assert len(receiver.calls) == stopped_at + 1
        receiver.answers["/"] = OK
        found = await engine.finished(BREAK_AFTER + 30)
    assert all(one.status in ("succeeded", "failed") for one in found)
    waited = [one for one in found if one.attempts == 1]
    assert all(one.status == "succeeded" for one in waited)
    assert len(waited) >= 25
    probes = [attempt for one in found for attempt in one.attempt_log if attempt.trigger == "probe"]
    assert len(probes) == 2
    assert {attempt.error for attempt in probes} == {"unreachable", None}
    probed = next(
        one for one in found if any(attempt.trigger == "probe" and attempt.error for attempt in one.attempt_log)
    )
    assert probed.status == "succeeded"
