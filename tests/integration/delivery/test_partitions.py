"""Days of events: made ahead, dropped whole, and in order when a day's partition came late."""

from datetime import UTC, datetime, timedelta

import asyncpg
from penguin_hub.delivery import store_partitions
from penguin_hub.delivery.jobs import keep_partitions
from penguin_hub.platform import clock, ids
from support.delivery import Engine, Receiver


async def _where(engine: Engine, table: str) -> dict[str, int]:
    async with engine.database.system() as connection:
        rows = await connection.fetch(f"SELECT tableoid::regclass::text AS part, count(*) FROM {table} GROUP BY 1")
    return {row["part"]: row["count"] for row in rows}


async def test_what_came_before_its_day_had_a_partition_moves_into_it(engine: Engine, receiver: Receiver) -> None:
    await engine.endpoint(receiver.url())
    await engine.publish()
    async with engine.working():
        await engine.finished()
    assert await _where(engine, "events") == {"events_default": 1}
    await keep_partitions(engine.database)
    day = f"{clock.now():%Y%m%d}"
    for table in ("events", "deliveries", "attempts"):
        assert await _where(engine, table) == {f"{table}_{day}": 1}
    (delivery,) = await engine.log()
    assert len(delivery.attempt_log) == 1
    await engine.publish()
    async with engine.working():
        await engine.finished(2)
    assert await _where(engine, "deliveries") == {f"deliveries_{day}": 2}
    await keep_partitions(engine.database)


async def test_a_partition_has_the_walls_of_its_table(engine: Engine) -> None:
    await keep_partitions(engine.database)
    open_ones = await engine.execute(
        "SELECT count(*) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid "
        "WHERE c.relkind = 'r' AND NOT (c.relrowsecurity AND c.relforcerowsecurity)"
    )
    assert open_ones == 0


async def test_days_past_their_time_are_dropped_with_their_ids(engine: Engine) -> None:
    old = datetime(2026, 1, 5, 12, tzinfo=UTC)
    async with engine.database.system() as connection:
        await store_partitions.make(connection, old, 2)
        for moment in (old, old + timedelta(days=1)):
            number = ids.lowest_at("evt", moment)
            await connection.execute(
                "INSERT INTO events (tenant_id, id, type) VALUES ($1, $2, 'x')", engine.tenant, number
            )
            await connection.execute(
                "INSERT INTO event_keys (tenant_id, message_id, event_id) VALUES ($1, $2, $2)", engine.tenant, number
            )
        dropped = await store_partitions.drop_before(connection, old + timedelta(days=1))
    assert sorted(dropped) == sorted(f"{table}_20260105" for table in store_partitions.PARTITIONED)
    assert await _where(engine, "events") == {"events_20260106": 1}
    assert await engine.execute("SELECT count(*) FROM event_keys") == 1


async def test_only_whole_days_of_these_tables_can_be_made_or_dropped(engine: Engine) -> None:

    for table, day in (("tenants", "20260101"), ("events", "default"), ("events; DROP TABLE tenants", "20260101")):
        try:
            await engine.execute("SELECT hub_partition_drop($1, $2)", table, day)
        except asyncpg.RaiseError:
            continue
        raise AssertionError(f"{table}_{day} could be dropped")
