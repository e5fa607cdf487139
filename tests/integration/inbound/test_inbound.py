"""Providers' requests: verified, stored once, understood, and their effects had once (REQUIREMENTS E1 to E5)."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from penguin_hub.connections.schemas import InboundConnection
from penguin_hub.http.paging import Paging
from penguin_hub.inbound import store
from penguin_hub.inbound import worker as inbound_worker
from penguin_hub.inbound.errors import AddressUnknown, InboundNotFound, SignatureRefused
from penguin_hub.inbound.jobs import forget_old
from penguin_hub.inbound.registry import ANY, Registry
from penguin_hub.inbound.schemas import InboundDetail, InboundSummary
from penguin_hub.inbound.service import InboundService
from penguin_hub.inbound.worker import InboundWorker
from penguin_hub.platform import ids
from penguin_hub.platform.db import Connection, Database
from penguin_hub_sdk.config import Config, Secret
from penguin_hub_sdk.errors import BadAnswer
from penguin_hub_sdk.events import E, ProviderEvent
from penguin_hub_sdk.hooks import Plugin
from penguin_hub_sdk.manifest import Manifest
from penguin_hub_sdk.verifiers import SharedToken
from penguin_hub_sdk.webhooks import Answer, InboundRequest, Webhook
from support.tenants import make_principal


class Settings(Config, frozen=True):
    token: Secret


class Item(msgspec.Struct):
    id: str
    kind: str = "delivered"


WORDS = {"delivered": E.DELIVERED, "bounced": E.BOUNCED}


def normalise(request: InboundRequest) -> Iterable[ProviderEvent]:
    try:
        items = msgspec.json.decode(request.body, type=list[Item])
    except msgspec.MsgspecError as error:
        raise BadAnswer("This is not a list of events.") from error
    for item in items:
        yield ProviderEvent(type=WORDS.get(item.kind, E.UNKNOWN), raw_type=item.kind, at=datetime.now(UTC), key=item.id)


def answer(request: InboundRequest) -> Answer | None:
    return Answer(body=b"hello") if request.body == b'"challenge"' else None


class House:
    """One tenant's connection to a provider that says who it is by a word in a header."""

    def __init__(self, database: Database, tenant: str) -> None:
        self.database, self.tenant = database, tenant
        self.connection = ids.new("cnx")
        self.configs: list[Config] = [Settings(token=Secret("now")), Settings(token=Secret("before"))]
        self.webhook = Webhook(
            verify=SharedToken(secret="token", header="x-provider-token"), normalise=normalise, answer=answer
        )
        self.registry = Registry()
        self.seen: list[tuple[str, str]] = []
        self.registry.register(ANY, "email.*", self.take)
        self.service = InboundService(database, self)

    async def for_inbound(self, plugin_id: str, connection_id: str) -> InboundConnection | None:
        if (plugin_id, connection_id) != ("acme", self.connection):
            return None
        manifest = Manifest(id="acme", name="Acme", version="1.0.0", category="email", summary="For a test.")
        plugin: Plugin[Any] = Plugin(
            manifest=manifest,
            config=Settings,
            connect=lambda _: self,
            webhook=self.webhook,  # type: ignore[arg-type, return-value] # never connected here
        )
        return InboundConnection(
            tenant=self.tenant, workspace="wsp_x", id=self.connection, plugin=plugin, configs=self.configs
        )

    async def take(
        self, connection: Connection, tenant: str, connection_id: str, events: Sequence[ProviderEvent]
    ) -> None:
        assert (tenant, connection_id) == (self.tenant, self.connection)
        self.seen += [(str(event.type), event.key) for event in events]

    async def receive(self, body: bytes, token: str = "now", path: str | None = None, **headers: str) -> Answer:
        return await self.service.receive(
            "acme",
            self.connection,
            method="POST",
            path=path or f"/api/webhooks/acme/{self.connection}",
            headers=[("x-provider-token", token), *headers.items()],
            body=body,
        )

    async def all(self, **filters: Any) -> list[InboundSummary]:
        wanted = {"connection_id": None, "state": None, **filters}
        return (await self.service.page(self.tenant, Paging(limit=100, descending=False), **wanted)).data

    async def only(self) -> InboundDetail:
        (one,) = await self.all()
        return await self.service.get(self.tenant, one.id)

    async def until(self, *states: str) -> list[InboundSummary]:
        async with asyncio.timeout(15):
            while True:
                found = await self.all()
                if [one.state for one in found] == list(states):
                    return found
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(InboundWorker(self.database, self, self.registry).run(stop))
        try:
            yield
        finally:
            stop.set()
            await task


@pytest.fixture
async def house(database: Database) -> House:
    return House(database, (await make_principal(database)).tenant)


async def test_a_good_request_is_stored_understood_and_has_its_effect(house: House) -> None:
    assert await house.receive(b'[{"id":"1"},{"id":"2","kind":"bounced"}]') == Answer()
    async with house.working():
        (one,) = await house.until("processed")
    assert one.events == ["email.delivered", "email.bounced"]
    assert house.seen == [("email.delivered", "1"), ("email.bounced", "2")]


async def test_the_worker_is_woken_by_what_comes(house: House) -> None:
    async with house.working():
        await asyncio.sleep(0.3)
        started = asyncio.get_running_loop().time()
        await house.receive(b'[{"id":"1"}]')
        while not house.seen:
            await asyncio.sleep(0.005)
        assert asyncio.get_running_loop().time() - started < 0.5


async def test_the_previous_secret_still_proves_while_it_is_given(house: House) -> None:
    await house.receive(b'[{"id":"1"}]', token="before")
    house.configs.pop()
    with pytest.raises(SignatureRefused):
        await house.receive(b'[{"id":"2"}]', token="before")
    assert len(await house.all()) == 1


@pytest.mark.parametrize("token", ["wrong", "", "now ", "NOW"])
async def test_a_bad_signature_stores_nothing(house: House, token: str) -> None:
    with pytest.raises(SignatureRefused):
        await house.receive(b'[{"id":"1"}]', token=token)
    assert await house.all() == []


async def test_an_unknown_connection_or_plugin_is_not_there(house: House) -> None:
    for plugin, connection in (("acme", ids.new("cnx")), ("other", house.connection), ("acme", "nonsense")):
        with pytest.raises(AddressUnknown):
            await house.service.receive(plugin, connection, method="POST", path="/", headers=[], body=b"[]")


async def test_a_handshake_is_answered_and_not_stored(house: House) -> None:
    assert (await house.receive(b'"challenge"')).body == b"hello"
    with pytest.raises(SignatureRefused):
        await house.receive(b'"challenge"', token="wrong")
    assert await house.all() == []


async def test_a_redelivery_is_answered_well_and_stored_once(house: House) -> None:
    many = await asyncio.gather(*(house.receive(b'[{"id":"1"}]') for _ in range(20)))
    assert many == [Answer()] * 20
    assert len(await house.all()) == 1


async def test_a_plugin_s_own_key_tells_redeliveries_apart(house: House) -> None:
    house.webhook = msgspec.structs.replace(house.webhook, key=lambda request: request.header("x-delivery"))
    await house.receive(b"[]", **{"x-delivery": "a"})
    await house.receive(b"[ ]", **{"x-delivery": "a"})
    await house.receive(b"[]", **{"x-delivery": "b"})
    await house.receive(b"[]")
    await house.receive(b"[]")
    assert len(await house.all()) == 3


async def test_an_unknown_event_is_kept_and_named(house: House) -> None:
    await house.receive(b'[{"id":"1","kind":"teleported"}]')
    async with house.working():
        (one,) = await house.until("processed")
    assert one.events == ["unknown:teleported"]
    assert house.seen == []


async def test_handlers_are_chosen_by_integration_and_type(house: House) -> None:
    calls: list[str] = []

    def handler(name: str) -> Any:
        async def handle(_: Connection, __: str, ___: str, events: Sequence[ProviderEvent]) -> None:
            calls.append(f"{name}:{','.join(event.key for event in events)}")

        return handle

    house.registry.register("acme", "email.bounced", handler("mine"))
    house.registry.register("other", "*", handler("theirs"))
    house.registry.register(ANY, "unknown", handler("odd"))
    await house.receive(b'[{"id":"1"},{"id":"2","kind":"bounced"},{"id":"3","kind":"odd"}]')
    async with house.working():
        await house.until("processed")
    assert calls == ["mine:2", "odd:3"]


async def test_what_is_not_understood_is_retried_parked_and_can_be_processed_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound_worker, "DELAYS", (0.05, 0.05))
    await house.receive(b"not json")
    async with house.working():
        (one,) = await house.until("parked")
        assert (one.attempts, one.error, one.events) == (3, "This is not a list of events.", [])
        # The plugin was mended.
        house.webhook = msgspec.structs.replace(
            house.webhook,
            normalise=lambda _: [ProviderEvent(type=E.DELIVERED, raw_type="x", at=datetime.now(UTC), key="k")],
        )
        await house.service.reprocess(house.tenant, one.id)
        (one,) = await house.until("processed")
    assert (one.error, house.seen) == (None, [("email.delivered", "k")])


async def test_a_handler_that_fails_leaves_no_half_effect(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound_worker, "DELAYS", (0.05,))
    failures = [RuntimeError("a bug")]

    async def fail_once(connection: Connection, tenant: str, _: str, __: Sequence[ProviderEvent]) -> None:
        await connection.execute(
            "INSERT INTO events (tenant_id, id, type) VALUES ($1, $2, 'effect')", tenant, ids.new("evt")
        )
        if failures:
            raise failures.pop()

    house.registry.register(ANY, "*", fail_once)
    await house.receive(b'[{"id":"1"}]')
    async with house.working():
        await house.until("processed")
    async with house.database.system() as connection:
        assert await connection.fetchval("SELECT count(*) FROM events WHERE type = 'effect'") == 1


async def test_a32_a_request_that_kills_its_worker_is_given_up_and_others_go_on(house: House) -> None:
    await house.receive(b'[{"id":"poison"}]')
    for _ in range(len(inbound_worker.DELAYS) + 1):
        async with house.database.system() as connection:
            # Claimed, and never heard of again.
            assert len(await store.claim(connection, count=1, lease=-1, token=1)) == 1
    await house.receive(b'[{"id":"fine"}]')
    async with house.working():
        poison, fine = await house.until("parked", "processed")
    assert (poison.events, fine.events) == ([], ["email.delivered"])
    assert house.seen == [("email.delivered", "fine")]


async def test_many_workers_process_each_request_once(house: House) -> None:
    for number in range(300):
        await house.receive(b'[{"id":"%d"}]' % number)
    stop = asyncio.Event()
    tasks = [asyncio.create_task(InboundWorker(house.database, house, house.registry).run(stop)) for _ in range(3)]
    async with asyncio.timeout(30):
        while len(house.seen) < 300:
            await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*tasks)
    assert len(set(house.seen)) == len(house.seen) == 300


async def test_credentials_are_not_stored(house: House) -> None:
    await house.receive(
        b"[]",
        path="/api/webhooks/acme/x?token=canary-1&plain=yes",
        authorization="Basic canary-2",
        cookie="a=canary-3",
        **{"x-signature": "abc"},
    )
    one = await house.only()
    assert "canary" not in repr(one)
    assert "plain=yes" in one.url
    assert ("x-signature", "abc") in one.headers
    async with house.database.system() as connection:
        assert not await connection.fetchval("SELECT count(*) FROM inbound_requests r WHERE r::text LIKE '%canary%'")


async def test_another_tenant_sees_nothing(house: House, database: Database) -> None:
    await house.receive(b"[]")
    one = await house.only()
    other = (await make_principal(database)).tenant
    with pytest.raises(InboundNotFound):
        await house.service.get(other, one.id)
    with pytest.raises(InboundNotFound):
        await house.service.reprocess(other, one.id)
    assert (await house.service.page(other, Paging(), connection_id=None, state=None)).data == []


async def test_old_requests_are_forgotten_and_waiting_ones_are_not(house: House) -> None:
    await house.receive(b'[{"id":"1"}]')
    async with house.working():
        await house.until("processed")
    await house.receive(b'[{"id":"2"}]')
    async with house.database.system() as connection:
        await connection.execute("UPDATE inbound_requests SET received_at = now() - interval '31 days'")
    assert await forget_old(house.database) == 1
    assert [one.state for one in await house.all()] == ["pending"]


async def test_a_request_under_lease_is_nobody_else_s(house: House) -> None:
    await house.receive(b'[{"id":"1"}]')
    async with house.database.system() as connection:
        assert len(await store.claim(connection, count=10, lease=60, token=1)) == 1
        assert await store.claim(connection, count=10, lease=60, token=2) == []


async def test_an_outcome_that_comes_after_the_lease_was_taken_over_has_no_effect(house: House) -> None:
    await house.receive(b'[{"id":"1"}]')
    worker = InboundWorker(house.database, house, house.registry)
    async with house.database.system() as connection:
        (late,) = await store.claim(connection, count=1, lease=-1, token=1)
    async with house.database.system() as connection:
        (current,) = await store.claim(connection, count=1, lease=60, token=2)
    await worker._one(late, 1)
    assert house.seen == []
    await worker._one(current, 2)
    assert house.seen == [("email.delivered", "1")]
