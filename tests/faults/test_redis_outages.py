"""A24: Valkey is killed, frozen and flushed under requests. Limits stay in bounds, answers stay quick, all recovers."""

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from penguin_hub.limits.service import DECISIONS
from penguin_hub.platform.db import Database
from penguin_hub.platform.embedded import DataFolder, Valkey
from penguin_hub.platform.redis import Redis, RedisUnavailable
from penguin_hub.settings import Settings
from penguin_hub.vault import open_store
from support.keys import PASSWORD, Node

LIMIT = 600
Fault = Callable[[Valkey, Redis], Awaitable[None]]


@pytest_asyncio.fixture
async def valkey() -> AsyncIterator[Valkey]:
    """One of this test's own, to be ill-treated."""
    folder = Path(tempfile.mkdtemp(prefix="penguin-fault-"))
    home = DataFolder(folder)
    home.prepare()
    home.lock()
    server = Valkey(home, home.credentials().valkey_password)
    await server.start()
    yield server
    if server.process is not None:
        server.process.send_signal(signal.SIGCONT)
    await server.stop()
    home.forget_sockets()
    home.unlock()
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture
async def node(valkey: Valkey, settings: Settings, database: Database) -> AsyncIterator[Node]:
    redis = Redis(valkey.url)
    secrets = await open_store(settings, database)
    opened = await Node(settings, database, redis, secrets, fixed=LIMIT).open()
    yield opened
    await opened.close()
    await secrets.close()
    await redis.close()


def running(server: Valkey) -> Any:
    assert server.process is not None
    return server.process


async def killed(server: Valkey, redis: Redis) -> None:
    running(server).kill()
    running(server).wait()


async def frozen(server: Valkey, redis: Redis) -> None:
    running(server).send_signal(signal.SIGSTOP)


async def flushed(server: Valkey, redis: Redis) -> None:
    await redis.call("FLUSHALL")


async def restarted(server: Valkey, redis: Redis) -> None:
    await server.start()


async def thawed(server: Valkey, redis: Redis) -> None:
    running(server).send_signal(signal.SIGCONT)


async def nothing(server: Valkey, redis: Redis) -> None:
    return


async def counts(node: Node) -> bool:
    """Whether Redis counts again."""
    try:
        await node.limiter.throttle("probe", "x", most=1000, seconds=1)
    except RedisUnavailable:
        return False
    return True


FAULTS: dict[str, tuple[Fault, Fault]] = {
    "kill -9": (killed, restarted),
    "SIGSTOP": (frozen, thawed),
    "FLUSHALL": (flushed, nothing),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a24_an_outage_of_redis_costs_little_and_heals(node: Node, valkey: Valkey, name: str) -> None:
    fault, repair = FAULTS[name]
    made = await node.tenant()
    key = (await node.key(made)).key
    token = await node.token()
    latencies: list[float] = []
    statuses: list[int] = []
    over = asyncio.Event()
    answered = asyncio.Condition()

    async def until(count: int) -> None:
        async with answered:
            await answered.wait_for(lambda: len(statuses) >= count)

    async def customer() -> None:
        while not over.is_set():
            started = time.perf_counter()
            statuses.append((await node.ask("GET", "/ping", key=key)).status)
            latencies.append(time.perf_counter() - started)
            async with answered:
                answered.notify_all()
            await asyncio.sleep(0.002)

    started = time.monotonic()
    customers = [asyncio.create_task(customer()) for _ in range(4)]
    await until(200)
    await fault(valkey, node.redis)
    if name != "FLUSHALL":
        body = {"name": "x", "scopes": ["send_email"]}
        login = {"email": "owner@example.com", "password": PASSWORD}
        assert (await node.ask("POST", "/platform/api-keys", key=token, json=body)).status == 503
        assert (await node.ask("POST", "/platform/sessions", json=login)).status == 503
    await until(len(statuses) + 600)
    await repair(valkey, node.redis)
    repaired = time.monotonic()
    while node.redis.is_down or not await counts(node):
        assert time.monotonic() - repaired < 5
        await asyncio.sleep(0.05)
    over.set()
    await asyncio.gather(*customers)
    took = time.monotonic() - started

    assert set(statuses) <= {200, 429}
    assert statuses.count(200) <= 2 * (LIMIT + LIMIT / 60 * took)
    assert sorted(latencies)[int(len(latencies) * 0.95)] < 0.25


async def test_more_requests_at_once_than_connections_are_no_outage(node: Node) -> None:
    key = (await node.key(await node.tenant())).key
    assert (await node.ask("GET", "/ping", key=key)).status == 200
    alone = DECISIONS.labels("local", "allowed")._value.get()
    started = time.monotonic()
    answers = await asyncio.gather(*(node.ask("GET", "/ping", key=key) for _ in range(200)))
    took = time.monotonic() - started
    assert {answer.status for answer in answers} == {200}
    assert DECISIONS.labels("local", "allowed")._value.get() == alone, f"Redis was given up on ({took:.2f} s)"
