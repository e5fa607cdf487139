"""Strict order for each endpoint and key: nothing overtakes, nothing else waits."""

import asyncio
import random
import sys
from collections import defaultdict
from contextlib import AsyncExitStack
from datetime import timedelta

import msgspec
from penguin_hub.delivery import store_order, store_queue
from penguin_hub.delivery.schemas import ChangedWebhook, RecoveryWanted
from penguin_hub.events.schemas import NewEvent
from penguin_hub.http.idempotency import NEVER_ASKED
from penguin_hub.platform import clock
from penguin_hub.settings import Settings
from support import api
from support.delivery import OK, Call, Engine, Receiver, environment, status


async def publish(engine: Engine, count: int, keys: int) -> None:
    """Numbered events, the keys in turn, in one transaction."""
    async with engine.database.tenant(engine.tenant) as connection:
        events = [
            NewEvent(type="test.event", data={"number": number}, subject=f"key-{number % keys}")
            for number in range(count)
        ]
        await engine.events.add_many(connection, engine.tenant, events)


def number(call: Call) -> int:
    return int(msgspec.json.decode(call.body)["data"]["number"])


def accepted(calls: list[Call], outcomes: dict[int, int], keys: int) -> dict[int, list[int]]:
    """By key, the numbers in the order in which the receiver took them (by what it answered to the n-th call)."""
    taken: dict[int, list[int]] = defaultdict(list)
    for index, call in enumerate(calls):
        if outcomes[index] == 200:
            taken[number(call) % keys].append(number(call))
    return taken


class Moody:
    """Answers 500 at random, and never two of one key at once."""

    def __init__(self, receiver: Receiver, keys: int, share: float) -> None:
        self._receiver, self._keys, self._share = receiver, keys, share
        self._random = random.Random(7)
        self.outcomes: dict[int, int] = {}
        self.inside: set[int] = set()
        self.together: list[int] = []

    async def __call__(self, call: Call, writer: asyncio.StreamWriter) -> None:
        key = number(call) % self._keys
        if key in self.inside:
            self.together.append(key)
        self.inside.add(key)
        await asyncio.sleep(self._random.random() * 0.01)
        self.inside.discard(key)
        good = self._random.random() > self._share
        self.outcomes[next(n for n, one in enumerate(self._receiver.calls) if one is call)] = 200 if good else 500
        writer.write(OK if good else status(500))
        await writer.drain()


async def test_three_workers_keep_the_order_of_each_key_through_random_failures(
    engine: Engine, receiver: Receiver
) -> None:
    moody = Moody(receiver, keys=8, share=0.3)
    receiver.answers["/"] = moody
    await engine.endpoint(receiver.url(), ordered=True, retry=[0.1] * 15)
    await publish(engine, 160, keys=8)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(engine.working())
        await engine.drained()
    assert await engine.execute("SELECT count(*) FROM deliveries WHERE state = 'succeeded'") == 160
    assert moody.together == [], "never two of one key at once"
    taken = accepted(receiver.calls, moody.outcomes, 8)
    assert {key: sorted(found) for key, found in taken.items()} == taken
    assert sum(map(len, taken.values())) == 160


async def test_a_failing_delivery_holds_back_its_key_and_nothing_else(engine: Engine, receiver: Receiver) -> None:
    refused = status(500)
    failing = True

    async def answer(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(refused if failing and number(call) == 0 else OK)
        await writer.drain()

    receiver.answers["/"] = answer
    await engine.endpoint(receiver.url(), ordered=True, retry=[0.3] * 20)
    async with engine.working():
        await publish(engine, 30, keys=3)
        await engine.publish(data={"number": 99})
        await receiver.until(lambda: len({call.id for call in receiver.calls}) == 22)
        assert {number(call) % 3 for call in receiver.calls if number(call) not in (0, 99)} == {1, 2}
        assert 99 in map(number, receiver.calls), "what has no key waits for nobody"
        failing = False
        await engine.drained()
    first = [number(call) for call in receiver.calls if number(call) % 3 == 0 and number(call) != 99]
    assert first == sorted(first)
    assert [one for one in first if one] == list(range(3, 30, 3))
    (retried,) = [one for one in await engine.log() if one.attempts > 1]
    triggers = [attempt.trigger for attempt in retried.attempt_log]
    assert triggers == ["event", *["retry"] * (len(triggers) - 1)]


async def test_a_dead_delivery_lets_the_next_of_its_key_go(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = [status(500), status(500), OK]
    await engine.endpoint(receiver.url(), ordered=True, retry=[0.1])
    await publish(engine, 3, keys=1)
    async with engine.working():
        await engine.drained()
    assert list(map(number, receiver.calls)) == [0, 0, 1, 2]
    assert [one.status for one in await engine.log()] == ["failed", "succeeded", "succeeded"]


async def test_what_a_killed_worker_held_comes_first_of_its_key_again(engine: Engine, receiver: Receiver) -> None:
    """A worker that is killed leaves a lease and nothing else; so does a claim whose result nobody writes."""
    endpoint = await engine.endpoint(receiver.url(), ordered=True)
    await publish(engine, 20, keys=2)
    async with engine.database.system() as connection:
        await store_queue.setup(connection)
        held = await store_order.claim(connection, [(endpoint.id, 100, "")], lease=1.0, token=1)
    assert len(held) == 2, "one of each key"
    async with engine.database.system() as connection:
        assert not await store_order.claim(connection, [(endpoint.id, 100, "")], lease=1.0, token=2)
    async with engine.working():
        await engine.drained()
    for key in (0, 1):
        assert [number(call) for call in receiver.calls if number(call) % 2 == key] == list(range(key, 20, 2))


async def test_workers_that_are_killed_and_killed_again_turn_no_order_round(
    engine: Engine, settings: Settings, receiver: Receiver
) -> None:
    """SIGKILL at random moments: what was sent and not noted comes again, before what follows it."""
    moody = Moody(receiver, keys=5, share=0.1)
    receiver.answers["/"] = moody
    await engine.endpoint(receiver.url(), ordered=True, retry=[0.1] * 15)
    await publish(engine, 200, keys=5)

    async def start() -> asyncio.subprocess.Process:
        quiet = asyncio.subprocess.DEVNULL
        command = sys.executable, "-m", "penguin_hub.cli", "worker"
        return await asyncio.create_subprocess_exec(*command, env=environment(settings), stdout=quiet, stderr=quiet)

    workers = [await start(), await start()]
    try:
        for seen in (20, 60, 100):
            await receiver.until(lambda wanted=seen: len(receiver.calls) >= wanted, 60)
            victim = workers.pop(0)
            victim.kill()
            await victim.wait()
            workers.append(await start())
        await engine.drained(90)
    finally:
        for process in workers:
            process.terminate()
        await asyncio.gather(*(process.wait() for process in workers))
    for key in range(5):
        found = [number(call) for call in receiver.calls if number(call) % 5 == key]
        assert found == sorted(found), "a copy may come twice, and never after what follows it"
        assert set(found) == set(range(key, 200, 5))


async def test_a_claim_takes_heads_alone_and_goes_round_the_keys(engine: Engine, receiver: Receiver) -> None:
    endpoint = await engine.endpoint(receiver.url(), ordered=True)
    await publish(engine, 30, keys=5)

    async def claim(count: int, after: str) -> list[str]:
        async with engine.database.system() as connection:
            await store_queue.setup(connection)
            rows = await store_order.claim(connection, [(endpoint.id, count, after)], lease=60, token=1)
            return sorted(row["ordering_key"] for row in rows)

    assert await claim(2, "") == ["key-0", "key-1"]
    assert await claim(2, "key-1") == ["key-2", "key-3"]
    assert await claim(2, "key-3") == ["key-4"]
    assert await claim(9, "") == []


async def test_two_claims_at_once_never_take_the_same_key(engine: Engine, receiver: Receiver) -> None:
    endpoint = await engine.endpoint(receiver.url(), ordered=True)
    await publish(engine, 400, keys=100)

    async def claim(token: int) -> list[str]:
        async with engine.database.system() as connection:
            await store_queue.setup(connection)
            rows = await store_order.claim(connection, [(endpoint.id, 60, "")], lease=60, token=token)
            return [row["ordering_key"] for row in rows]

    taken = [key for found in await asyncio.gather(*map(claim, range(6))) for key in found]
    assert len(set(taken)) == len(taken)
    assert len(set(taken)) >= 60


async def test_events_of_separate_transactions_keep_the_order_of_their_publishing(
    engine: Engine, receiver: Receiver
) -> None:
    """The place is drawn in the publisher's transaction: a clock that goes back does not turn the order round."""
    await engine.endpoint(receiver.url(), ordered=True)
    later = [NewEvent(type="test.event", data={"number": n}, subject="one") for n in range(5)]
    for event in later:
        async with engine.database.tenant(engine.tenant) as connection:
            await engine.events.add(connection, engine.tenant, event)
    # As if each had been made by a machine whose clock was behind that of the one before.
    rows = "SELECT array_agg(id ORDER BY place) FROM delivery_queue"
    identities = await engine.execute(rows)
    assert identities == sorted(identities)
    await engine.execute("UPDATE delivery_queue SET due_at = due_at - place * interval '1 minute'")
    async with engine.working():
        await engine.drained()
    assert list(map(number, receiver.calls)) == [0, 1, 2, 3, 4]


async def test_without_the_option_a_key_holds_nothing_back(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = [status(500), OK]
    made = await engine.endpoint(receiver.url(), retry=[0.5])
    async with engine.working():
        await publish(engine, 3, keys=1)
        await receiver.until(lambda: len({number(call) for call in receiver.calls}) == 3)
        await engine.drained()
    assert await engine.execute("SELECT count(*) FROM delivery_queue WHERE ordering_key IS NOT NULL") == 0
    changed = await engine.webhooks.change(engine.tenant, made.id, ChangedWebhook(ordered=True))
    assert changed.ordered
    await publish(engine, 3, keys=1)
    assert await engine.execute("SELECT count(*) FROM delivery_queue WHERE ordering_key IS NOT NULL") == 3


async def test_a_disabled_endpoint_is_rid_of_its_backlog_at_once(engine: Engine, receiver: Receiver) -> None:
    made = await engine.endpoint(receiver.url(), ordered=True)
    await publish(engine, 2000, keys=1)
    await engine.webhooks.switch(engine.tenant, made.id, enabled=False)
    async with engine.working():
        await engine.drained(20)
    assert receiver.calls == []
    assert await engine.execute("SELECT count(*) FROM deliveries WHERE state = 'discarded'") == 2000


async def test_a_recovery_sends_what_was_missed_in_order(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = [status(500), OK]
    made = await engine.endpoint(receiver.url(), ordered=True)
    since = clock.now() - timedelta(seconds=5)
    await publish(engine, 1, keys=1)
    async with engine.working():
        await engine.drained()
        await engine.webhooks.switch(engine.tenant, made.id, enabled=False)
        await publish(engine, 1200, keys=4)
        await engine.webhooks.switch(engine.tenant, made.id, enabled=True)
        begun = await engine.deliveries.recover(engine.principal, made.id, RecoveryWanted(since=since), NEVER_ASKED)
        assert (await engine.recovered(made.id, begun.id)).requeued == 1201
        await engine.drained(120)
    again = list(map(number, receiver.calls))[1:]
    assert len(again) == 1201
    for key in range(4):
        found = [one for one in again if one % 4 == key]
        assert found == sorted(found)


async def test_a_tenant_s_own_key_is_the_event_s_subject(settings: Settings, receiver: Receiver) -> None:
    async with api.client(settings) as client:
        for bad in ("", "x" * 129, "a\nb", 7):
            body = {"type": "order.paid", "data": {}, "ordering_key": bad}
            answer = await client.post("/events", json=body)
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/ordering_key")
        good = await client.post("/events", json={"type": "order.paid", "data": {}, "ordering_key": "order 1"})
        assert good.status_code == 202
        found = await client.get("/events", params={"subject": "order 1"})
        assert [one["id"] for one in found.json()["data"]] == [good.json()["event_id"]]
        assert found.json()["data"][0]["subject"] == "order 1"
        made = await client.post("/webhooks", json={"url": receiver.url(), "events": ["*"], "ordered": True})
        assert made.json()["ordered"] is True
