"""Nothing that was accepted is lost, whoever dies: CASES W21, W23, W24, W27 to W29, W47."""

import asyncio
import sys
from collections import Counter

import pytest
from penguin_hub.delivery import store_queue
from penguin_hub.platform import ids
from penguin_hub.platform.db import Connection
from penguin_hub.settings import Settings
from support.delivery import OK, Call, Engine, Receiver, environment, status


async def test_w21_a_slow_log_does_not_lose_the_retry(
    engine: Engine, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = store_queue.settle

    async def slow(connection: Connection, results: list[tuple[object, ...]]) -> set[str]:
        await asyncio.sleep(0.6)
        return await settle(connection, results)

    monkeypatch.setattr(store_queue, "settle", slow)
    receiver.answers["/"] = [status(500), OK]
    await engine.endpoint(receiver.url(), retry=[0.1])
    await engine.publish()
    async with engine.working():
        (delivery,) = await engine.finished()
    assert (delivery.status, delivery.attempts, len(receiver.calls)) == ("succeeded", 2, 2)


async def test_w23_an_event_whose_publisher_died_after_its_commit_is_delivered(
    engine: Engine, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.endpoint(receiver.url())
    async with engine.working():
        await asyncio.sleep(0.2)
        # The commit is there, and nobody rings.
        monkeypatch.setattr(engine.events.wake, "ring", lambda: None)
        await engine.publish()
        await receiver.until(lambda: len(receiver.calls) == 1, seconds=3)


async def test_w24_a_killed_worker_s_delivery_is_taken_over_and_its_siblings_get_no_copy(
    engine: Engine, receiver: Receiver, settings: Settings
) -> None:
    hold = asyncio.Event()

    async def never(_: Call, __: asyncio.StreamWriter) -> None:
        await hold.wait()

    receiver.answers["/slow"] = never
    await engine.endpoint(receiver.url("/slow"))
    await engine.endpoint(receiver.url("/quick"))
    event = await engine.publish()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "penguin_hub.cli", "worker", env=environment(settings), stderr=asyncio.subprocess.DEVNULL
    )
    await receiver.until(lambda: bool(receiver.at("/slow")))
    await engine.until(lambda one: one.status == "succeeded")
    process.kill()
    await process.wait()
    assert [one.status for one in await engine.log()].count("pending") == 1
    receiver.answers["/slow"] = OK
    async with engine.working():
        await asyncio.sleep(1.5)
        assert len(receiver.at("/slow")) == 1, "its lease has not ended"
        await engine.execute("UPDATE delivery_queue SET lease_until = now()")
        found = await engine.finished(2)
    hold.set()
    assert [one.status for one in found] == ["succeeded", "succeeded"]
    assert [call.id for call in receiver.at("/slow")] == [event, event]
    assert [call.id for call in receiver.at("/quick")] == [event]


async def test_w24_an_outcome_that_comes_after_the_lease_was_taken_over_does_not_count(
    engine: Engine, receiver: Receiver
) -> None:
    await engine.endpoint(receiver.url())
    await engine.publish()
    (pending,) = await engine.log()
    async with engine.database.system() as connection:
        await store_queue.setup(connection)
        first = await store_queue.claim(connection, [(pending.webhook_id, 0, 1)], lease=-1, token=1)
        assert len(first) == 1
    async with engine.database.system() as connection:
        again = await store_queue.claim(connection, [(pending.webhook_id, 0, 1)], lease=60, token=2)
        assert len(again) == 1

    def outcome(token: int) -> tuple[object, ...]:
        return (engine.tenant, pending.id, token, b"f", "succeeded", 0.0, 200, None, ids.new("att"), 5, b"\x90")

    async with engine.database.system() as connection:
        assert await store_queue.settle(connection, [outcome(1)]) == set()
    assert (await engine.log())[0].status == "pending"
    async with engine.database.system() as connection:
        assert await store_queue.settle(connection, [outcome(2)]) == {pending.id}
        assert await store_queue.settle(connection, [outcome(2)]) == set()
    page = await engine.execute("SELECT count(*) FROM attempts")
    assert page == 1


async def test_w27_a_worker_that_is_asked_to_stop_finishes_what_it_began_and_returns_the_rest(
    engine: Engine, receiver: Receiver
) -> None:
    async def a_moment(_: Call, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(OK)
        await writer.drain()

    receiver.answers["/"] = a_moment
    await engine.endpoint(receiver.url(), concurrency=64)
    await engine.publish_many(300)
    started = asyncio.get_running_loop().time()
    async with engine.working():
        await receiver.until(lambda: len(receiver.calls) >= 40)
    assert asyncio.get_running_loop().time() - started < 15
    assert await engine.execute("SELECT count(*) FROM delivery_queue WHERE lease_until IS NOT NULL") == 0
    begun = len(receiver.calls)
    succeeded = sum(one.status == "succeeded" for one in await engine.log())
    assert succeeded == begun
    receiver.answers["/"] = OK
    async with engine.working():
        await engine.finished(300)
    assert max(Counter(call.id for call in receiver.calls).values()) == 1
    assert len(receiver.calls) == 300


async def test_w28_many_workers_share_the_work_and_nothing_is_done_twice(engine: Engine, receiver: Receiver) -> None:
    for number in range(20):
        await engine.endpoint(receiver.url(f"/{number}"))
    events = [event for _ in range(10) for event in await engine.publish_many(20)]
    stop = asyncio.Event()
    workers = [engine.worker(slots=32) for _ in range(3)]
    tasks = [asyncio.create_task(worker.run(stop)) for worker in workers]
    await receiver.until(lambda: len(receiver.calls) >= 4000, seconds=60)
    await engine.drained()
    stop.set()
    await asyncio.gather(*tasks)
    seen = Counter((call.path, call.id) for call in receiver.calls)
    assert len(seen) == 4000
    assert set(seen.values()) == {1}
    assert {event for _, event in seen} == set(events)


async def test_w29_a_connector_that_crashes_is_a_failure_and_the_queue_goes_on(
    engine: Engine, receiver: Receiver
) -> None:
    receiver.answers["/"] = OK
    await engine.endpoint(receiver.url())
    poison = await engine.endpoint(receiver.url("/poison"), events=["poison.*"])
    # A row that no worker can send: its endpoint is a connection, and nobody serves connections here.
    await engine.execute(
        "UPDATE webhooks SET url = NULL, connection_id = 'cnx_none', version = version + 1 WHERE id = $1", poison.id
    )
    await engine.publish("poison.event")
    await engine.publish_many(50)
    async with engine.working():
        found = await engine.finished(52)
    by_endpoint = Counter((one.webhook_id == poison.id, one.status) for one in found)
    assert by_endpoint == {(True, "failed"): 1, (False, "succeeded"): 51}


async def test_w47_one_failing_endpoint_of_three_is_retried_alone(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/b"] = [status(500), status(500), OK]
    for path in ("/a", "/b", "/c"):
        await engine.endpoint(receiver.url(path), retry=[0.1, 0.1])
    await engine.publish()
    async with engine.working():
        await engine.finished(3)
    assert Counter(call.path for call in receiver.calls) == {"/a": 1, "/b": 3, "/c": 1}


async def test_a_worker_outlives_a_database_that_goes_away(engine: Engine, receiver: Receiver) -> None:
    await engine.endpoint(receiver.url())
    async with engine.working():
        await engine.publish()
        await receiver.until(lambda: len(receiver.calls) == 1)
        await engine.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
        )
        await engine.publish()
        await receiver.until(lambda: len({call.id for call in receiver.calls}) == 2)
        await engine.finished(2)
