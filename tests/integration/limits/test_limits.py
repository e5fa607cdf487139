"""Rate limits over real processes' worth of limiters and a real Redis."""

import asyncio
import re
import time
from typing import Any

import pytest
from penguin_hub.http.guards import SCOPES
from penguin_hub.keys.schemas import NewApiKey
from penguin_hub.keys.service import command_line
from penguin_hub.limits.service import Limiter
from penguin_hub.platform import ids
from penguin_hub.platform.errors import TooMany
from penguin_hub.platform.redis import Redis, RedisUnavailable
from penguin_hub.settings import Settings
from penguin_hub.tenants.plans import PLANS
from support.keys import FlakyRedis, Node

POLICY = re.compile(r'"default";q=(\d+);w=60')
LIMIT = re.compile(r'"default";r=(\d+);t=(\d+)')


def fields(answer: Any) -> tuple[int, int, int]:
    """Quota, remaining, seconds: each header once, in the form of the draft."""
    found = dict(answer.headers)
    assert [name for name, _ in answer.headers].count("ratelimit") == 1
    policy, limit = POLICY.fullmatch(found["ratelimit-policy"]), LIMIT.fullmatch(found["ratelimit"])
    assert policy is not None
    assert limit is not None
    return int(policy[1]), int(limit[1]), int(limit[2])


@pytest.mark.parametrize("plan", PLANS)
async def test_a21_a_burst_gets_the_plans_limit_over_all_nodes(make_node: Any, plan: str) -> None:
    nodes: list[Node] = [await make_node() for _ in range(4)]
    limit = PLANS[plan].requests_per_minute
    key = (await nodes[0].key(await nodes[0].tenant(plan))).key
    started = time.monotonic()
    statuses = []
    for request in range(limit + limit // 10 + 10):
        statuses.append((await nodes[request % 4].ask("GET", "/ping", key=key)).status)
    refilled = (time.monotonic() - started) * limit / 60
    assert set(statuses) == {200, 429}
    assert set(statuses[:limit]) == {200}
    assert limit - 2 <= statuses.count(200) <= limit + refilled + 1


async def test_a21_under_saturation_the_rate_is_exact(settings: Settings) -> None:
    """Four limiters with connections of their own, one key, for some seconds."""
    redises = [Redis(settings.redis_url) for _ in range(4)]
    limiters = [Limiter(redis) for redis in redises]
    limit, seconds = 300, 3.0
    tenant, subject = ids.new("ten"), ids.new("key")
    accepted = 0
    started = time.monotonic()

    async def hammer(limiter: Limiter) -> None:
        nonlocal accepted
        account = limiter.account(tenant, subject, limit, 1)
        while time.monotonic() - started < seconds:
            decision = await limiter.take(account, fresh=1)
            assert decision is not None
            accepted += decision.allowed

    await asyncio.gather(*(hammer(limiter) for limiter in limiters for _ in range(2)))
    took = time.monotonic() - started
    for redis in redises:
        await redis.close()
    assert limit + limit / 60 * seconds - 2 <= accepted <= limit + limit / 60 * took + 1


async def test_a22_every_answer_carries_its_limit(make_node: Any) -> None:
    node: Node = await make_node(fixed=60)
    made = await node.tenant()
    key = (await node.key(made)).key
    assert fields(await node.ask("GET", "/ping", key=key)) == (60, 59, 1)
    for method, path in (("GET", "/nothing"), ("POST", "/ping"), ("GET", "/platform/api-keys"), ("HEAD", "/ping")):
        quota, remaining, _ = fields(await node.ask(method, path, key=key))
        assert quota == 60
        assert 0 < remaining < 60
    unknown = await node.ask("GET", "/ping")
    assert (unknown.status, fields(unknown)) == (401, (0, 0, 60)), "without a credential there is no quota"
    login = await node.ask("POST", "/platform/sessions", json={})
    assert (login.status, fields(login)[:2]) == (422, (0, 0))


async def test_a22_a_refusal_says_when_to_come_back_and_that_is_enough(make_node: Any) -> None:
    node: Node = await make_node(fixed=120)
    key = (await node.key(await node.tenant())).key
    for _ in range(200):
        answer = await node.ask("GET", "/ping", key=key)
        if answer.status == 429:
            break
    assert answer.status == 429
    assert answer.json["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert answer.json["violated-policies"] == ["default"]
    quota, remaining, more = fields(answer)
    retry = int(answer.header("retry-after") or 0)
    assert (quota, remaining) == (120, 0)
    assert retry >= more >= 1
    await asyncio.sleep(retry)
    assert (await node.ask("GET", "/ping", key=key)).status == 200


async def test_a22_what_is_left_never_falls_below_nothing(make_node: Any) -> None:
    node: Node = await make_node(fixed=5)
    key = (await node.key(await node.tenant())).key
    left = [fields(await node.ask("GET", "/ping", key=key))[1] for _ in range(10)]
    assert left == [4, 3, 2, 1, 0, 0, 0, 0, 0, 0]


async def test_a23_many_keys_of_a_tenant_get_five_times_one_keys_limit(make_node: Any) -> None:
    node: Node = await make_node(fixed=20)
    mine, other = await node.tenant(), await node.tenant(email="b@example.com")
    operator = command_line(mine.tenant)
    new = NewApiKey(name="x", scopes=list(SCOPES))
    keys = [(await node.keys.create(operator, new)).key for _ in range(20)]
    started = time.monotonic()
    accepted = 0
    for _ in range(10):
        for key in keys:
            accepted += (await node.ask("GET", "/ping", key=key)).status == 200
    refilled = (time.monotonic() - started) * 100 / 60
    assert 100 <= accepted <= 100 + refilled + 1
    foreign = (await node.key(other)).key
    assert [(await node.ask("GET", "/ping", key=foreign)).status for _ in range(20)] == [200] * 20


async def test_a23_a_tenant_far_over_its_limit_leaves_others_theirs(make_node: Any) -> None:
    node: Node = await make_node()
    loud = (await node.key(await node.tenant("starter"))).key
    quiet = (await node.key(await node.tenant("starter", "b@example.com"))).key
    loud_statuses, quiet_statuses = [], []
    for round_ in range(48):
        for _ in range(10):
            loud_statuses.append((await node.ask("GET", "/ping", key=loud)).status)
        quiet_statuses.append((await node.ask("GET", "/ping", key=quiet)).status)
        assert round_ < 48
    assert set(quiet_statuses) == {200}
    assert loud_statuses.count(429) > 300


async def test_a24_without_redis_each_node_gives_its_share(make_node: Any) -> None:
    nodes: list[Node] = [await make_node(nodes=4, fixed=100) for _ in range(4)]
    key = (await nodes[0].key(await nodes[0].tenant())).key
    for node in nodes:
        assert (await node.ask("GET", "/ping", key=key)).status == 200
        assert isinstance(node.redis, FlakyRedis)
        node.redis.away = True
    accepted = 0
    started = time.monotonic()
    for _ in range(60):
        for node in nodes:
            answer = await node.ask("GET", "/ping", key=key)
            accepted += answer.status == 200
            assert fields(answer)[0] == 100
    refilled = (time.monotonic() - started) * 100 / 60
    assert 100 <= accepted <= 100 + refilled + 4


async def test_a24_what_is_sensitive_is_refused_without_redis(make_node: Any) -> None:
    node: Node = await make_node()
    node.redis.away = True  # type: ignore[attr-defined] # the test's own Redis
    with pytest.raises(RedisUnavailable):
        await node.limiter.throttle("login", "x", most=5, seconds=60)


async def test_a24_a_flush_gives_at_most_one_more_bucket(make_node: Any) -> None:
    node: Node = await make_node(fixed=30)
    key = (await node.key(await node.tenant())).key
    statuses = [(await node.ask("GET", "/ping", key=key)).status for _ in range(40)]
    await node.redis.call("FLUSHALL")
    statuses += [(await node.ask("GET", "/ping", key=key)).status for _ in range(40)]
    assert set(statuses) == {200, 429}
    assert 60 <= statuses.count(200) <= 63


async def test_a_strict_throttle_is_exact_and_hides_its_subject(make_node: Any) -> None:
    node: Node = await make_node()
    results = await asyncio.gather(
        *(node.limiter.throttle("login", "a@example.com", most=5, seconds=3600) for _ in range(20)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, TooMany) for result in results) == 15
    await node.limiter.throttle("login", "b@example.com", most=5, seconds=3600)
    places = [place.decode() for place in await node.redis.call("KEYS", "*")]
    assert places
    assert not [place for place in places if "example" in place]


async def test_the_plan_that_was_changed_holds_for_the_next_request(make_node: Any) -> None:
    node: Node = await make_node()
    made = await node.tenant("starter")
    key = (await node.key(made)).key
    assert fields(await node.ask("GET", "/ping", key=key))[0] == 60
    await node.tenants.change_plan(made.tenant.id, "pro")
    assert fields(await node.ask("GET", "/ping", key=key))[0] == 300


async def test_a_clock_that_is_wrong_on_one_node_changes_nothing(make_node: Any) -> None:
    right: Node = await make_node(fixed=10)
    wrong: Node = await make_node(fixed=10, now=lambda: time.monotonic() + 1e6)
    key = (await right.key(await right.tenant())).key
    statuses = [(await node.ask("GET", "/ping", key=key)).status for _ in range(10) for node in (right, wrong)]
    assert statuses.count(200) == 10
