"""Endpoints that are polled: nothing is passed over, whoever is slow, and nobody holds a connection while he waits."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from penguin_hub.delivery import bell, polling, store_partitions
from penguin_hub.delivery.bell import Bell
from penguin_hub.delivery.errors import (
    CursorExpired,
    WebhookDisabled,
    WebhookNotFound,
    WebhookNotPolled,
    WebhookPolled,
)
from penguin_hub.delivery.polling import PollingService, Position
from penguin_hub.delivery.router import DeliveryRouter
from penguin_hub.delivery.schemas import (
    ChangedWebhook,
    NewWebhook,
    Polled,
    RecoveryWanted,
    ReplacedWebhook,
    TestEvent,
)
from penguin_hub.events.schemas import NewEvent
from penguin_hub.events.service import EventsService
from penguin_hub.http.idempotency import NEVER_ASKED
from penguin_hub.http.problems import BadParameter
from penguin_hub.platform import clock
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import Invalid
from penguin_hub.settings import Settings
from support.delivery import Engine, Receiver
from support.tenants import make_principal

KEY = b"k" * 32


@pytest.fixture
async def service(database: Database, engine: Engine) -> AsyncIterator[PollingService]:
    engine.events = EventsService(database, DeliveryRouter(Bell(database)))
    made = PollingService(database, KEY)
    yield made
    await made.close()


async def _endpoint(engine: Engine, **wanted: Any) -> str:
    new = NewWebhook(**{"mode": "poll", "events": ["*"], **wanted})
    return (await engine.webhooks.create(engine.principal, new, NEVER_ASKED)).id


def _events(page: Polled) -> list[dict[str, Any]]:
    return [msgspec.json.decode(one) for one in page.data]


def _ids(page: Polled) -> list[str]:
    return [event["id"] for event in _events(page)]


async def _everything(service: PollingService, tenant: str, endpoint: str, limit: int = 100) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = await service.poll(tenant, endpoint, cursor=cursor, limit=limit)
        found += _ids(page)
        cursor = page.next_cursor
        if not page.has_more:
            return found


async def test_events_come_in_order_and_once_for_a_cursor_that_is_passed_on(
    engine: Engine, service: PollingService
) -> None:
    await engine.publish("before.it")
    endpoint = await _endpoint(engine)
    published = [await engine.publish("test.event", data={"n": number}) for number in range(3)]
    published += await engine.publish_many(4)
    first = await service.poll(engine.tenant, endpoint, limit=5)
    assert (_ids(first), first.has_more) == (published[:5], True)
    second = await service.poll(engine.tenant, endpoint, cursor=first.next_cursor, limit=5)
    assert _ids(second) == published[5:]
    again = await service.poll(engine.tenant, endpoint, cursor=first.next_cursor, limit=5)
    assert again.data == second.data, "a consumer that died before it was done gets the same again"
    end = await service.poll(engine.tenant, endpoint, cursor=second.next_cursor)
    assert (end.data, end.has_more) == ([], False)
    late = await engine.publish("test.event")
    for cursor in (end.next_cursor, second.next_cursor):
        assert _ids(await service.poll(engine.tenant, endpoint, cursor=cursor)) == [late]
    assert await _everything(service, engine.tenant, endpoint, limit=3) == [*published, late]


async def test_what_is_polled_is_what_would_have_been_delivered(
    engine: Engine, service: PollingService, receiver: Receiver
) -> None:
    endpoint = await _endpoint(engine)
    await engine.endpoint(receiver.url())
    await engine.publish("a.b", data={"é": [1, 2.5, None]}, workspace=engine.principal.workspace)
    async with engine.working():
        await engine.finished()
    page = await service.poll(engine.tenant, endpoint)
    assert [bytes(one) for one in page.data] == [receiver.calls[0].body]


async def test_nothing_is_queued_for_a_polled_endpoint(engine: Engine, service: PollingService) -> None:
    await _endpoint(engine)
    await engine.publish()
    assert await engine.execute("SELECT count(*) FROM delivery_queue") == 0
    assert await engine.execute("SELECT count(*) FROM polled_events") == 1


async def test_types_and_filters_of_the_endpoint_hold(engine: Engine, service: PollingService) -> None:
    endpoint = await _endpoint(engine, events=["order.*"], filter={"data": {"total": {"gte": 10}}})
    other = await _endpoint(engine, events=["user.created"])
    wanted = await engine.publish("order.paid", data={"total": 12})
    await engine.publish("order.paid", data={"total": 2})
    user = await engine.publish("user.created", data={"total": 12})
    assert await _everything(service, engine.tenant, endpoint) == [wanted]
    assert await _everything(service, engine.tenant, other) == [user]


async def test_slow_publishers_are_not_passed_over(engine: Engine, service: PollingService, database: Database) -> None:
    """Ids are made before the commit. Somebody who reads while they commit out of order gets each, and each once."""
    endpoint = await _endpoint(engine)
    published: list[str] = []
    shuffled = random.Random(7)
    open_at_once = asyncio.Semaphore(12)

    async def publish(number: int) -> None:
        async with open_at_once:
            many = shuffled.randrange(1, 5)
            async with database.tenant(engine.tenant) as connection:
                made = [NewEvent(type="t", data={"n": number, "of": part}) for part in range(many)]
                found = await engine.events.add_many(connection, engine.tenant, made)
                await asyncio.sleep(shuffled.choice((0, 0, 0.01, 0.05, 0.3)))
                if number % 10 == 9:
                    raise _Undone
            published.extend(found)

    seen: list[str] = []
    cursor: str | None = None

    async def read() -> None:
        nonlocal cursor
        page = await service.poll(engine.tenant, endpoint, cursor=cursor, limit=shuffled.randrange(1, 8))
        seen.extend(_ids(page))
        cursor = page.next_cursor

    writing = asyncio.gather(*(publish(number) for number in range(300)), return_exceptions=True)
    while not writing.done():
        await read()
    assert {type(one) for one in writing.result() if one is not None} == {_Undone}
    while True:
        before = len(seen)
        await read()
        if len(seen) == before:
            break
    assert len(seen) == len(set(seen))
    assert set(seen) == set(published)
    overtaken = [one for one, later in itertools.pairwise(seen) if later < one]
    assert overtaken, "nobody was slow: this run proves nothing"


class _Undone(Exception):
    pass


async def test_one_slow_publisher_holds_nobody_up(engine: Engine, service: PollingService, database: Database) -> None:
    endpoint = await _endpoint(engine)
    async with database.tenant(engine.tenant) as connection:
        slow = await engine.events.add(connection, engine.tenant, NewEvent(type="slow", data={}))
        quick = await engine.publish("quick")
        page = await service.poll(engine.tenant, endpoint)
        assert _ids(page) == [quick]
    page = await service.poll(engine.tenant, endpoint, cursor=page.next_cursor)
    assert _ids(page) == [slow]


async def test_a_poll_that_waits_hears_of_an_event_at_once(engine: Engine, service: PollingService) -> None:
    endpoint = await _endpoint(engine)
    start = await service.poll(engine.tenant, endpoint)
    loop = asyncio.get_running_loop()
    for _ in range(3):
        waiting = asyncio.create_task(service.poll(engine.tenant, endpoint, cursor=start.next_cursor, wait=20))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        at = loop.time()
        published = await engine.publish()
        start = await waiting
        assert _ids(start) == [published]
        assert loop.time() - at < 2


async def test_a_poll_that_waits_holds_no_connection(
    engine: Engine, service: PollingService, settings: Settings
) -> None:
    endpoint = await _endpoint(engine)
    narrow = Database(settings.database_url, app_size=1, system_size=1)
    await narrow.open()
    polls = PollingService(narrow, KEY)
    waiting = [asyncio.create_task(polls.poll(engine.tenant, endpoint, wait=20)) for _ in range(10)]
    try:
        await asyncio.sleep(0.3)
        async with asyncio.timeout(5):
            async with narrow.tenant(engine.tenant) as connection:
                events = EventsService(narrow, DeliveryRouter(Bell(narrow)))
                published = await events.add(connection, engine.tenant, NewEvent(type="t", data={}))
            assert [_ids(page) for page in await asyncio.gather(*waiting)] == [[published]] * 10
    finally:
        await asyncio.gather(*waiting, return_exceptions=True)
        await polls.close()
        await narrow.close()


async def test_a_lost_notice_delays_and_loses_nothing(
    engine: Engine, service: PollingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "_LOOK_AGAIN_SECONDS", 0.2)
    monkeypatch.setattr(bell.store_polling, "CHANNEL", "nobody")
    endpoint = await _endpoint(engine)
    waiting = asyncio.create_task(service.poll(engine.tenant, endpoint, wait=20))
    await asyncio.sleep(0.1)
    published = await engine.publish()
    async with asyncio.timeout(5):
        assert _ids(await waiting) == [published]


async def test_a_wait_ends_in_time_with_a_cursor_that_goes_on(engine: Engine, service: PollingService) -> None:
    endpoint = await _endpoint(engine)
    page = await service.poll(engine.tenant, endpoint, wait=1)
    assert page.data == []
    published = await engine.publish()
    assert _ids(await service.poll(engine.tenant, endpoint, cursor=page.next_cursor)) == [published]


async def test_those_who_wait_are_let_go_when_the_process_stops(engine: Engine, service: PollingService) -> None:
    endpoint = await _endpoint(engine)
    waiting = asyncio.create_task(service.poll(engine.tenant, endpoint, wait=20))
    await asyncio.sleep(0.1)
    service.ear.end()
    async with asyncio.timeout(2):
        assert (await waiting).data == []
        assert (await service.poll(engine.tenant, endpoint, wait=20)).data == []


async def test_too_many_who_wait_are_answered_at_once(
    engine: Engine, service: PollingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "MAX_WAITING_OF_TENANT", 2)
    endpoint = await _endpoint(engine)
    waiting = [asyncio.create_task(service.poll(engine.tenant, endpoint, wait=20)) for _ in range(2)]
    await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        assert (await service.poll(engine.tenant, endpoint, wait=20)).data == []
    assert not any(task.done() for task in waiting)
    service.ear.end()
    await asyncio.gather(*waiting)


async def test_who_may_poll_what(engine: Engine, service: PollingService, receiver: Receiver) -> None:
    endpoint = await _endpoint(engine)
    stranger = await make_principal(engine.database)
    for tenant, wanted in ((stranger.tenant, endpoint), (engine.tenant, "whk_x"), (engine.tenant, "x" * 30)):
        with pytest.raises(WebhookNotFound):
            await service.poll(tenant, wanted)
    pushed = await engine.endpoint(receiver.url())
    with pytest.raises(WebhookNotPolled):
        await service.poll(engine.tenant, pushed.id)
    await engine.webhooks.change(engine.tenant, endpoint, ChangedWebhook(enabled=False))
    await engine.publish()
    with pytest.raises(WebhookDisabled):
        await service.poll(engine.tenant, endpoint)
    await engine.webhooks.change(engine.tenant, endpoint, ChangedWebhook(enabled=True))
    assert await _everything(service, engine.tenant, endpoint) == []
    await engine.webhooks.delete(engine.tenant, endpoint)
    with pytest.raises(WebhookNotFound):
        await service.poll(engine.tenant, endpoint)


async def test_a_cursor_is_its_endpoint_s_and_as_it_was_given(engine: Engine, service: PollingService) -> None:
    one, other = await _endpoint(engine), await _endpoint(engine)
    cursor = (await service.poll(engine.tenant, one)).next_cursor
    for wanted, given in (
        (other, cursor),
        (one, cursor[:-2] + "xx"),
        (one, ""),
        (one, "é"),
        (one, "AAAA"),
        (one, cursor + "\0"),
    ):
        with pytest.raises(BadParameter):
            await service.poll(engine.tenant, wanted, cursor=given)


async def test_an_endpoint_stays_polled_or_pushed(engine: Engine, receiver: Receiver) -> None:
    polled = await _endpoint(engine)
    pushed = (await engine.endpoint(receiver.url())).id
    for wanted in (
        NewWebhook(mode="poll", url=receiver.url(), events=["*"]),
        NewWebhook(events=["*"]),
    ):
        with pytest.raises(Invalid):
            await engine.webhooks.create(engine.principal, wanted, NEVER_ASKED)
    with pytest.raises(Invalid):
        await engine.webhooks.change(engine.tenant, polled, ChangedWebhook(url=receiver.url()))
    for endpoint, replaced in (
        (polled, ReplacedWebhook(url=receiver.url(), events=["*"])),
        (pushed, ReplacedWebhook(mode="poll", events=["*"])),
    ):
        with pytest.raises(Invalid):
            await engine.webhooks.replace(engine.tenant, endpoint, replaced)
    shown = await engine.webhooks.replace(engine.tenant, polled, ReplacedWebhook(mode="poll", events=["x.*"]))
    assert (shown.mode, shown.url, shown.events) == ("poll", None, ["x.*"])
    assert (await engine.webhooks.get(engine.tenant, pushed)).mode == "push"


async def test_nothing_is_sent_to_a_polled_endpoint_by_hand(engine: Engine) -> None:
    endpoint = await _endpoint(engine)
    with pytest.raises(WebhookPolled):
        await engine.deliveries.test(engine.principal, endpoint, TestEvent(), NEVER_ASKED)
    wanted = RecoveryWanted(since=clock.now() - timedelta(hours=1))
    with pytest.raises(WebhookPolled):
        await engine.deliveries.recover(engine.principal, endpoint, wanted, NEVER_ASKED)


async def test_an_answer_is_bounded_and_an_expunged_event_is_left_out(
    engine: Engine, service: PollingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "MAX_BYTES", 3000)
    endpoint = await _endpoint(engine)
    published = [await engine.publish(data={"text": "x" * 1200}) for _ in range(6)]
    await engine.events.expunge(engine.tenant, published[1])
    page = await service.poll(engine.tenant, endpoint)
    assert (_ids(page), page.has_more) == ([published[0], published[2]], True)
    large = await engine.publish(data={"text": "x" * 5000})
    assert await _everything(service, engine.tenant, endpoint) == [published[0], *published[2:], large]


async def test_events_that_a_dump_brought_from_another_server_are_read(
    engine: Engine, service: PollingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their transactions' numbers may be those of the future here, and older cursors mean nothing."""
    endpoint = await _endpoint(engine)
    native = await engine.publish()
    restored = await engine.publish()
    await engine.execute(
        "WITH gone AS (DELETE FROM polled_events WHERE id = $1 RETURNING *) "
        "INSERT INTO polled_events SELECT tenant_id, endpoint_id, id, '999999999' FROM gone RETURNING 1",
        restored,
    )
    page = await service.poll(engine.tenant, endpoint, limit=1)
    assert _ids(page) == [native]
    page = await service.poll(engine.tenant, endpoint, cursor=page.next_cursor)
    assert _ids(page) == [restored]
    late = await engine.publish()
    following = await service.poll(engine.tenant, endpoint, cursor=page.next_cursor)
    assert _ids(following) == [late], "and not again each time"
    # A cursor of another server, whose snapshot seems to hold everything.
    decode = polling._decode

    def foreign(cursor: str, seal: bytes) -> Position:
        found = decode(cursor, seal)
        return msgspec.structs.replace(found, history="1/00000001", done="999999998:999999998:")

    monkeypatch.setattr(polling, "_decode", foreign)
    again = await service.poll(engine.tenant, endpoint, cursor=following.next_cursor)
    assert _ids(again) == [native, late, restored]


async def test_what_is_polled_goes_with_its_day_and_the_cursor_says_so(
    engine: Engine, service: PollingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await _endpoint(engine)
    async with engine.database.system() as connection:
        await store_partitions.make(connection, clock.now(), 2)
    await engine.publish()
    old = (await service.poll(engine.tenant, endpoint)).next_cursor
    assert len(await _everything(service, engine.tenant, endpoint)) == 1
    later = datetime.now(UTC) + timedelta(days=40)
    async with engine.database.system() as connection:
        dropped = await store_partitions.drop_before(connection, later)
    assert any(name.startswith("polled_events_") for name in dropped)
    assert await _everything(service, engine.tenant, endpoint) == []
    monkeypatch.setattr(polling.clock, "now", lambda: later)
    with pytest.raises(CursorExpired):
        await service.poll(engine.tenant, endpoint, cursor=old)


async def test_a_snapshot_with_very_many_transactions_is_shortened_safely(
    engine: Engine, service: PollingService, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "_LONGEST_SNAPSHOT", 5)
    endpoint = await _endpoint(engine)
    async with database.tenant(engine.tenant) as connection:
        slow = await engine.events.add(connection, engine.tenant, NewEvent(type="slow", data={}))
        quick = await engine.publish("quick")
        page = await service.poll(engine.tenant, endpoint)
        assert page.data == [], "it waits for the slow one, and skips nothing"
    page = await service.poll(engine.tenant, endpoint, cursor=page.next_cursor)
    assert sorted(_ids(page)) == sorted([slow, quick])
