"""`penguin up`, as a user runs it, with the leases of production: its supervisor is the only one who mends anything."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from support import checker, hub, producer
from support.hub import Hub
from support.producer import Tenant
from support.sink import receiving

StartHub = Callable[..., Hub]
GRACE_SECONDS = 35.0
DRAIN_SECONDS = 60.0


def tenants_of(running: Hub) -> list[Tenant]:
    """The sample tenant, and one that the operator makes."""
    data = ("--data", str(running.data), "--json")

    def said(*arguments: str) -> dict[str, str]:
        done = hub.run(*arguments, *data)
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    made = said("tenants", "create", "Second", "--owner", "second@example.com", "--plan", "enterprise")["tenant"]
    key = ("keys", "create", "--tenant", made, "--scopes", "all")
    live = said(*key, "--name", "live", "--admin")["key"]
    test = said(*key, "--name", "test", "--environment", "test")["key"]
    return [Tenant(running.tenant, running.live_key, running.test_key), Tenant(made, live, test)]


def database_url(running: Hub) -> str:
    return str(json.loads((running.data / "run.json").read_bytes())["database_url"])


async def test_a32_kills_under_load_and_a_stop_under_load_lose_nothing(
    start_embedded_hub: StartHub, tmp_path: Path
) -> None:
    async with receiving() as sink:
        producer.provider(sink)
        extra = producer.overrides(sink)
        running = await asyncio.to_thread(start_embedded_hub, extra=extra)
        tenants = await asyncio.to_thread(tenants_of, running)
        async with producer.producing([running.url], tenants, tmp_path / "producer.log") as made:
            for tenant in tenants:
                await made.furnish(tenant, sink, ["ok", "flaky", "dead"])
                await made.connect(tenant)
            stop = asyncio.Event()
            load = asyncio.create_task(made.load(stop, 40))
            for part in ("worker", "api", "valkey", "worker"):
                await asyncio.sleep(1)
                psutil.Process(running.pids()[part]).kill()
            await asyncio.sleep(2)
            # The load goes on while it ends; what finds no hub any more is tried again until there is one.
            began = time.monotonic()
            assert await asyncio.to_thread(running.stop) == 0
            assert time.monotonic() - began < GRACE_SECONDS
            again = await asyncio.to_thread(start_embedded_hub, extra=extra)
            made.urls[:] = [again.url]
            await asyncio.sleep(1)
            stop.set()
            await load
            await checker.drained(database_url(again), DRAIN_SECONDS)
            state = await checker.snapshot(database_url(again), tenants)
        log = made.log
        report = checker.check(tenants, log.accepted, sink.copies, state, tried=log.tried, sent=sink.sent, faults=4)
        assert report.is_clean, str(report)
        assert not log.surprises
        assert report.accepted > 50, str(report)
