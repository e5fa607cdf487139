"""What a request costs: bcrypt once for a key and never for what is no key; an outage of ours is no fault of theirs."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
from penguin_hub.keys import format as key_format
from penguin_hub.keys import hashing, lookup, store
from penguin_hub.keys.confirm import CONFIRMED_SECONDS
from penguin_hub.keys.errors import TooBusy
from penguin_hub.platform import clock
from support.keys import Node

MANY = 1_000_000


def bcrypt_runs() -> float:
    return float(hashing.RUNS.labels("key")._value.get())


class Clock:
    """A monotonic clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


async def test_a02_bcrypt_runs_once_for_a_key(make_node: Any) -> None:
    node: Node = await make_node(fixed=MANY)
    made = await node.tenant()
    key = (await node.key(made)).key
    before = bcrypt_runs()
    # Cold and at once: all wait for the one check.
    answers = await asyncio.gather(*(node.ask("GET", "/ping", key=key) for _ in range(50)))
    for _ in range(500):
        answers.append(await node.ask("GET", "/ping", key=key))
    assert {answer.status for answer in answers} == {200}
    assert bcrypt_runs() - before == 1


async def test_a02_bcrypt_runs_once_for_the_whole_cluster_and_again_when_its_word_is_old(make_node: Any) -> None:
    now = Clock()
    first: Node = await make_node(fixed=MANY, now=now)
    others: list[Node] = [await make_node(fixed=MANY, now=now) for _ in range(2)]
    made = await first.tenant()
    key = (await first.key(made)).key
    before = bcrypt_runs()
    for node in (first, *others):
        assert (await node.ask("GET", "/ping", key=key)).status == 200
    assert bcrypt_runs() - before == 1
    await first.redis.call("FLUSHALL")
    assert (await first.ask("GET", "/ping", key=key)).status == 200
    assert bcrypt_runs() - before == 1, "what this process knows survives Redis"
    now.ahead += CONFIRMED_SECONDS + 1
    assert (await first.ask("GET", "/ping", key=key)).status == 200
    for node in others:
        assert (await node.ask("GET", "/ping", key=key)).status == 200
    assert bcrypt_runs() - before == 2


async def test_a03_random_keys_cost_no_bcrypt_and_few_queries(make_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node: Node = await make_node(fixed=MANY)
    made = await node.tenant()
    key = (await node.key(made)).key
    assert (await node.ask("GET", "/ping", key=key)).status == 200
    queries = 0
    real = store.lookup

    async def counted(*arguments: Any) -> Any:
        nonlocal queries
        queries += 1
        return await real(*arguments)

    monkeypatch.setattr(store, "lookup", counted)
    before, reads = bcrypt_runs(), node.secrets.reads  # type: ignore[attr-defined] # the test's own store
    strangers = [key_format.generate("live") for _ in range(1000)]
    legitimate: list[float] = []

    async def stranger(guess: str) -> int:
        return (await node.ask("GET", "/ping", key=guess)).status

    async def customer() -> None:
        for _ in range(50):
            started = time.perf_counter()
            assert (await node.ask("GET", "/ping", key=key)).status == 200
            legitimate.append(time.perf_counter() - started)

    results = await asyncio.gather(customer(), *(stranger(guess) for guess in strangers))
    assert set(results[1:]) == {401}
    assert bcrypt_runs() == before
    assert node.secrets.reads == reads  # type: ignore[attr-defined] # the test's own store
    assert queries <= len(strangers) / 10, "a flood shares its queries"
    asked = queries
    assert set(await asyncio.gather(*map(stranger, strangers[-100:]))) == {401}
    assert queries == asked, "what was unknown a moment ago is not asked for again"


async def test_what_is_unknown_is_remembered_in_bounds(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MOST_UNKNOWN", 10)
    for _ in range(25):
        assert (await node.ask("GET", "/ping", key=key_format.generate("live"))).status == 401
    assert len(node.gate._lookup._unknown) == 10


async def test_a09_a_sealed_store_stops_cold_keys_and_no_others(node: Node) -> None:
    made = await node.tenant()
    warm, cold = (await node.key(made)).key, (await node.key(made)).key
    assert (await node.ask("GET", "/ping", key=warm)).status == 200
    node.secrets.sealed = True  # type: ignore[attr-defined] # the test's own store
    assert (await node.ask("GET", "/ping", key=warm)).status == 200
    refused = await node.ask("GET", "/ping", key=cold)
    assert refused.status == 503
    assert int(refused.header("retry-after") or 0) >= 1
    node.secrets.sealed = False  # type: ignore[attr-defined] # the test's own store
    assert (await node.ask("GET", "/ping", key=cold)).status == 200


async def test_a09_a_process_that_starts_beside_a_sealed_store_recovers_by_itself(make_node: Any, node: Node) -> None:
    key = (await node.key(await node.tenant())).key
    node.secrets.sealed = True  # type: ignore[attr-defined] # the test's own store
    newcomer: Node = await make_node()
    assert (await newcomer.ask("GET", "/ping", key=key)).status == 503
    node.secrets.sealed = False  # type: ignore[attr-defined] # the test's own store
    assert (await newcomer.ask("GET", "/ping", key=key)).status == 200


async def test_a_database_that_is_away_is_not_the_clients_fault(make_node: Any) -> None:
    node: Node = await make_node()
    key = (await node.key(await node.tenant())).key
    await node.database.close()
    answer = await node.ask("GET", "/ping", key=key)
    assert (answer.status, answer.json["code"]) == (503, "database_unavailable")


async def test_making_keys_is_refused_while_redis_is_away(node: Node) -> None:
    await node.tenant()
    token = await node.token()
    node.redis.away = True  # type: ignore[attr-defined] # the test's own Redis
    body = {"name": "x", "scopes": ["send_email"]}
    answer = await node.ask("POST", "/platform/api-keys", key=token, json=body)
    assert answer.status == 503
    listed = await node.ask("GET", "/platform/api-keys", key=token)
    assert (listed.status, listed.json["data"]) == (200, [])


async def test_more_bcrypt_than_fits_is_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "MAX_WAITING", 3)
    hasher = hashing.Hasher(rounds=8, threads=1)
    results = await asyncio.gather(*(hasher.hash("x", "test") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, TooBusy) for result in results) == 2
    assert await hasher.hash("x", "test")


async def test_a_row_whose_hash_was_put_there_by_somebody_else_lets_nobody_in(node: Node) -> None:
    """Who can write the table can make the look-up find a key of his; the secret store still says no."""
    made = await node.tenant()
    key = await node.key(made)
    guess = key_format.generate("live")
    pepper = await node.keys._peppers.current()
    async with node.database.tenant(made.tenant.id) as connection:
        await store.rehash(connection, made.tenant.id, key.id, pepper.digest(guess), pepper.id)
    answer = await node.ask("GET", "/ping", key=guess)
    assert (answer.status, answer.json["code"]) == (401, "invalid_api_key")


async def test_a40_a_new_pepper_takes_over_without_a_failed_request(
    make_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Clock()
    nodes: list[Node] = [await make_node(fixed=MANY, now=now) for _ in range(2)]
    made = await nodes[0].tenant()
    old = await nodes[0].key(made)
    idle = await nodes[0].key(made)
    for node in nodes:
        assert (await node.ask("GET", "/ping", key=old.key)).status == 200
    assert await nodes[0].keys.rotate_pepper() == "p2"
    between = await nodes[0].key(made)
    assert (await nodes[1].ask("GET", "/ping", key=between.key)).status == 200, "it is not used before all know it"

    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(seconds=61))
    now.ahead += CONFIRMED_SECONDS + 61
    await nodes[0].redis.call("FLUSHALL")  # The mark there would have ended by now.
    new = await nodes[0].key(made)
    for node in nodes:
        for key in (old, between, new):
            assert (await node.ask("GET", "/ping", key=key.key)).status == 200
    async with nodes[0].database.tenant(made.tenant.id) as connection:
        rows = await connection.fetch("SELECT id, pepper_id FROM api_keys")
    assert {row["id"]: row["pepper_id"] for row in rows} == {
        old.id: "p2",
        idle.id: "p1",
        between.id: "p2",
        new.id: "p2",
    }
    assert (await nodes[1].ask("GET", "/ping", key=idle.key)).status == 200
