"""Valkey loses everything, PostgreSQL restarts, connections run out: under load, and nobody mends anything by hand."""

import asyncio

from penguin_hub.platform.db import owner, role_name
from support.town import Town

EXCUSED = {"200", "201", "202", "409", "503"}
"""What a client may see of a hub whose servers are away."""


async def test_w25_valkey_flushed_and_restarted_empty_at_200_a_second_loses_nothing(town: Town) -> None:
    await town.settle(3, ["ok", "flaky"], postmark=True)
    async with town.workers("w1", "w2"):
        async with town.under_load(200, kinds=("event",)), town.under_load(5, kinds=("email", "inbound")):
            for _ in range(2):
                await asyncio.sleep(1)
                await town.cluster.flush_valkey()
                await asyncio.sleep(1)
                await town.cluster.empty_valkey()
            await asyncio.sleep(1)
        report = await town.judged(20, faults=0)
    assert report.is_clean, str(report)
    assert set(town.producer.log.answers) <= EXCUSED
    assert report.accepted > 400, report


async def test_w26_postgresql_restarted_under_load_says_503_for_what_it_did_not_store(town: Town) -> None:
    """Immediate shutdown, twice. What was answered with 2xx is there; what was not is there once or not at all."""
    await town.settle(3, ["ok", "flaky", "dead"], postmark=True)
    async with town.workers("w1", "w2"):
        async with town.under_load(60):
            for _ in range(2):
                await asyncio.sleep(1.5)
                await town.cluster.crash_postgres()
            await asyncio.sleep(1.5)
        report = await town.judged()
    assert report.is_clean, str(report)
    assert set(town.producer.log.answers) <= EXCUSED
    assert town.producer.log.answers["503"] > 0, "nobody noticed the restart"
    assert all(part.is_alive for part in town.cluster.parts.values()), "a process did not survive the restart"


async def test_full_pools_say_503_and_lose_nothing(town: Town) -> None:
    """Neither role gets more than one connection for two seconds; API and worker suffer, and both come out of it."""
    (tenant, *_) = await town.settle(2, ["ok", "flaky"], postmark=True)
    roles = [role_name(town.cluster.settings.database_url, role) for role in ("app", "system")]
    async with town.workers("w1"):
        await town.all_at_work(tenant)
        async with town.under_load(60), owner(town.cluster.settings.database_url) as connection:
            for role in roles:
                await connection.execute(f'ALTER ROLE "{role}" CONNECTION LIMIT 1')
            # Sessions that are open stay; without them everybody must ask for a new one.
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY($1)", roles
            )
            await asyncio.sleep(2)
            for role in roles:
                await connection.execute(f'ALTER ROLE "{role}" CONNECTION LIMIT -1')
            await asyncio.sleep(1)
        # A worker that could not write an outcome in time may do its work once more; nobody died.
        report = await town.judged(faults=1)
    assert report.is_clean, str(report)
    assert set(town.producer.log.answers) <= EXCUSED
    assert town.producer.log.answers["503"] > 0, "nobody noticed"
