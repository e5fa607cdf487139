"""Usage is counted without a write per request, and survives an outage of PostgreSQL in bounds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from penguin_hub.keys import store
from penguin_hub.keys.usage import DROPPED, Usage
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Database, DatabaseUnavailable
from support.keys import Node


async def test_requests_and_errors_are_counted_by_the_hour(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await node.tenant()
    key = await node.key(made)
    token = await node.token()
    moment = datetime(2027, 3, 4, 10, 59, 59, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: moment)
    for _ in range(3):
        await node.ask("GET", "/ping", key=key.key)
    await node.ask("GET", "/nothing", key=key.key)
    await node.gate.usage.flush()
    moment = datetime(2027, 3, 4, 12, 0, 1, tzinfo=UTC)
    await node.ask("GET", "/ping", key=key.key)
    await node.gate.usage.flush()
    await node.ask("GET", "/ping", key=key.key)
    await node.gate.usage.flush()
    token = await node.token()

    path = f"/platform/api-keys/{key.id}/usage"
    window = "since=2027-03-04T10:00:00Z&until=2027-03-04T13:00:00Z"
    hours = (await node.ask("GET", f"{path}?{window}", key=token)).json
    assert hours["data"] == [
        {"at": "2027-03-04T10:00:00Z", "requests": 4, "errors": 1},
        {"at": "2027-03-04T11:00:00Z", "requests": 0, "errors": 0},
        {"at": "2027-03-04T12:00:00Z", "requests": 2, "errors": 0},
    ]
    assert (hours["requests"], hours["errors"]) == (6, 1)
    days = (await node.ask("GET", f"{path}?granularity=day&{window}", key=token)).json
    assert days["data"] == [{"at": "2027-03-04T00:00:00Z", "requests": 6, "errors": 1}]
    assert len((await node.ask("GET", path, key=token)).json["data"]) == 24
    assert len((await node.ask("GET", f"{path}?granularity=day", key=token)).json["data"]) == 30
    shown = (await node.ask("GET", f"/platform/api-keys/{key.id}", key=token)).json
    assert shown["last_used_at"] == "2027-03-04T12:00:01Z"


async def test_windows_that_make_no_sense_are_refused(node: Node) -> None:
    key = await node.key(await node.tenant())
    token = await node.token()
    for query, status in (
        ("since=2027-01-01T00:00:00", 400),
        ("since=x", 400),
        ("granularity=minute", 400),
        ("since=2000-01-01T00:00:00Z", 422),
        ("since=2027-01-02T00:00:00Z&until=2027-01-01T00:00:00Z", 422),
    ):
        answer = await node.ask("GET", f"/platform/api-keys/{key.id}/usage?{query}", key=token)
        assert answer.status == status, (query, answer.body)


async def test_refused_requests_count_as_errors_of_their_key(make_node: Any) -> None:
    node: Node = await make_node(fixed=2)
    made = await node.tenant()
    key = await node.key(made)
    statuses = [(await node.ask("GET", "/ping", key=key.key)).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    await node.gate.usage.flush()
    async with node.database.tenant(made.tenant.id) as connection:
        rows = await connection.fetch("SELECT key_id, requests, errors FROM key_usage")
    assert [tuple(row) for row in rows] == [(key.id, 3, 1)]


async def test_an_outage_keeps_counts_and_forgets_in_bounds(database: Database, node: Node) -> None:
    made = await node.tenant()
    key = await node.key(made)
    closed = Database("postgresql://nobody:nothing@/nowhere")
    usage = Usage(closed, most=2)
    dropped = DROPPED._value.get()
    for _ in range(5):
        usage.count(made.tenant.id, key.id, error=False)
    usage.count(made.tenant.id, ids.new("key"), error=True)
    usage.count(made.tenant.id, ids.new("key"), error=True)
    await usage.flush()
    assert len(usage) == 2
    assert DROPPED._value.get() - dropped == 1
    usage._database = database
    await usage.flush()
    assert len(usage) == 0
    async with database.tenant(made.tenant.id) as connection:
        rows = await connection.fetch("SELECT key_id, requests FROM key_usage")
    assert [tuple(row) for row in rows] == [(key.id, 5)], "a key that is not there is left out, and stops nobody"


async def test_a_batch_that_fails_is_not_lost(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await node.tenant()
    key = await node.key(made)
    await node.ask("GET", "/ping", key=key.key)
    real = store.add_usage
    failures = iter([DatabaseUnavailable("away"), ValueError("a bug")])

    async def failing(*arguments: Any) -> None:
        error = next(failures, None)
        if error is not None:
            raise error
        await real(*arguments)

    monkeypatch.setattr(store, "add_usage", failing)
    for _ in range(3):
        await node.gate.usage.flush()
    async with node.database.tenant(made.tenant.id) as connection:
        assert await connection.fetchval("SELECT sum(requests) FROM key_usage") == 1


async def test_what_was_counted_is_written_at_the_end(make_node: Any) -> None:
    node: Node = await make_node()
    made = await node.tenant()
    key = await node.key(made)
    await node.ask("GET", "/ping", key=key.key)
    await node.close()
    async with node.database.tenant(made.tenant.id) as connection:
        assert await connection.fetchval("SELECT requests FROM key_usage") == 1


async def test_old_usage_is_forgotten(node: Node) -> None:
    from penguin_hub.keys.jobs import clean_up

    made = await node.tenant()
    key = await node.key(made)
    now = clock.now()
    async with node.database.system() as connection:
        for age in (timedelta(days=401), timedelta(days=399)):
            await connection.execute(
                "INSERT INTO key_usage VALUES ($1, $2, $3, 1, 0)", made.tenant.id, key.id, now - age
            )
    await clean_up(node.database, node.secrets, node.sessions)
    async with node.database.tenant(made.tenant.id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM key_usage") == 1
