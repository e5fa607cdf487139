"""The fixtures that every other integration test stands on."""

from penguin_hub.platform import ids
from penguin_hub.platform.db import Database
from penguin_hub.platform.redis import Redis


async def test_a_test_sees_only_its_own_rows_first(database: Database) -> None:
    await _adds_one_tenant_and_finds_one(database)


async def test_a_test_sees_only_its_own_rows_second(database: Database) -> None:
    await _adds_one_tenant_and_finds_one(database)


async def test_restricted_roles_are_walled(database: Database) -> None:
    mine, other = ids.new("ten"), ids.new("ten")
    async with database.system() as connection:
        await connection.executemany("INSERT INTO tenants (id, name, plan) VALUES ($1, $1, 'pro')", [(mine,), (other,)])
    async with database.tenant(mine) as connection:
        assert [row["id"] for row in await connection.fetch("SELECT id FROM tenants")] == [mine]
        role = await connection.fetchrow(
            "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user",
        )
    assert role is not None
    assert not any(role)


async def test_redis_is_empty_first(redis: Redis) -> None:
    await _finds_it_empty(redis)


async def test_redis_is_empty_second(redis: Redis) -> None:
    await _finds_it_empty(redis)


async def _adds_one_tenant_and_finds_one(database: Database) -> None:
    async with database.system() as connection:
        await connection.execute("INSERT INTO tenants (id, name, plan) VALUES ($1, 'x', 'pro')", ids.new("ten"))
        assert await connection.fetchval("SELECT count(*) FROM tenants") == 1


async def _finds_it_empty(redis: Redis) -> None:
    assert await redis.call("DBSIZE") == 0
    await redis.call("SET", "left", "over")
