"""Endpoints that are connections: one engine, one log, one retry for all destinations."""

import msgspec
import pytest
from penguin_hub.delivery.schemas import NewWebhook
from penguin_hub.delivery.service import WebhooksService
from penguin_hub.delivery.worker import DeliveryWorker
from penguin_hub.http.idempotency import NEVER_ASKED
from penguin_hub.platform import ids
from penguin_hub.platform.errors import Invalid
from penguin_hub_sdk.connectors import Event
from penguin_hub_sdk.errors import AuthExpired, PluginError, ProviderFailed, RateLimited
from support.delivery import Engine


class Channel:
    """A connection that shows events, and fails as the test says."""

    def __init__(self) -> None:
        self.id = ids.new("cnx")
        self.shown: list[Event] = []
        self.failures: list[Exception] = []

    async def accepts_events(self, tenant: str, connection: str) -> bool:
        return connection == self.id

    async def deliver(self, tenant: str, connection: str, event: Event) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.shown.append(event)


@pytest.fixture
def channel(engine: Engine) -> Channel:
    made = Channel()
    engine.webhooks = WebhooksService(engine.database, engine.secrets, engine.client, made)
    return made


async def _deliver(
    engine: Engine, channel: Channel, *failures: Exception, retry: list[float]
) -> tuple[str, list[str | None]]:
    channel.failures = list(failures)
    wanted = NewWebhook(connection=channel.id, events=["*"], retry=retry)
    await engine.webhooks.create(engine.principal, wanted, NEVER_ASKED)
    await engine.publish(data={"hello": "world"})

    engine.worker = lambda **_: DeliveryWorker(  # type: ignore[method-assign] # with the channel
        engine.database, engine.events, engine.secrets, engine.client, channel
    )
    async with engine.working():
        (delivery,) = await engine.finished()
    return delivery.status, [attempt.error for attempt in delivery.attempt_log]


async def test_an_event_is_shown(engine: Engine, channel: Channel) -> None:
    assert await _deliver(engine, channel, retry=[]) == ("succeeded", [None])
    (event,) = channel.shown
    assert (event.type, event.data) == ("test.event", {"hello": "world"})


@pytest.mark.parametrize("error", [ProviderFailed("It is down."), RateLimited("Slow down.", retry_after=0.2)])
async def test_a_passing_failure_is_retried(engine: Engine, channel: Channel, error: PluginError) -> None:
    assert await _deliver(engine, channel, error, retry=[0.1]) == ("succeeded", ["rejected", None])


async def test_a_failure_that_only_the_tenant_can_mend_is_not_retried(engine: Engine, channel: Channel) -> None:
    status, errors = await _deliver(engine, channel, AuthExpired("Reconnect."), retry=[0.1, 0.1])
    assert (status, errors) == ("failed", ["rejected"])
    (delivery,) = await engine.log()
    assert delivery.attempt_log[0].message == "Reconnect."


async def test_a_connector_s_bug_is_a_failure_and_says_nothing(engine: Engine, channel: Channel) -> None:
    status, errors = await _deliver(engine, channel, KeyError("secret-canary"), retry=[])
    assert (status, errors) == ("failed", ["unavailable"])
    assert b"canary" not in msgspec.json.encode((await engine.log())[0])


async def test_what_is_no_such_connection_is_refused(engine: Engine, channel: Channel) -> None:
    for wanted in (
        NewWebhook(connection=ids.new("cnx"), events=["*"]),
        NewWebhook(connection=channel.id, url="https://1.1.1.1/", events=["*"]),
        NewWebhook(events=["*"]),
    ):
        with pytest.raises(Invalid):
            await engine.webhooks.create(engine.principal, wanted, NEVER_ASKED)
