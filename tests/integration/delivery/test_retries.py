"""When a delivery is tried again: CASES W16 to W22."""

import asyncio
from datetime import timedelta

import msgspec
import pytest
from penguin_hub.delivery.errors import BeingDelivered, PayloadExpired, WebhookDisabled
from penguin_hub.delivery.schemas import ChangedWebhook, RecoveryWanted, Rotation
from penguin_hub.events.schemas import PublishedEvent
from penguin_hub.http.bodies import decode
from penguin_hub.http.idempotency import NEVER_ASKED
from penguin_hub.platform import clock
from penguin_hub_sdk import signing
from standardwebhooks import Webhook as Standard
from support.delivery import OK, Call, Engine, Receiver, status


@pytest.mark.parametrize("delays", [[], [0.1], [0.1, 0.1, 0.1]])
async def test_w16_a_schedule_of_n_delays_makes_n_plus_one_attempts_and_one_notice(
    engine: Engine, receiver: Receiver, delays: list[float]
) -> None:
    receiver.answers["/"] = status(500)
    endpoint = await engine.endpoint(receiver.url(), retry=delays, events=["test.*"])
    await engine.endpoint(receiver.url("/told"), events=["message.exhausted"])
    event = await engine.publish()
    async with engine.working():
        await receiver.until(lambda: len(receiver.at("/told")) == 1)
        delivery, told = await engine.finished(2)
    assert [attempt.number for attempt in delivery.attempt_log] == list(range(1, len(delays) + 2))
    assert (delivery.status, delivery.attempts) == ("failed", len(delays) + 1)
    assert len(receiver.at("/")) == len(delays) + 1
    notice = msgspec.json.decode(receiver.at("/told")[0].body)["data"]
    assert (notice["event_id"], notice["endpoint_id"]) == (event, endpoint.id)
    assert (notice["attempts"], notice["last_status"]) == (len(delays) + 1, 500)
    assert told.status == "succeeded"


async def test_w16_a_notice_that_cannot_be_delivered_causes_no_further_notice(
    engine: Engine, receiver: Receiver
) -> None:
    receiver.answers["/"] = status(500)
    await engine.endpoint(receiver.url(), events=["*", "message.exhausted"])
    await engine.publish()
    async with engine.working():
        found = await engine.finished(2)
    assert [one.type for one in found] == ["test.event", "message.exhausted"]
    assert len(receiver.calls) == 2


async def test_w17_delays_have_jitter_and_are_never_shorter_than_asked(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = lambda call, writer: _write(writer, OK if _seen(receiver, call) > 1 else status(500))
    await engine.endpoint(receiver.url(), retry=[1.0], concurrency=256)
    await engine.publish_many(200)
    async with engine.working():
        found = await engine.finished(200)
    waits = []
    for delivery in found:
        first, second = delivery.attempt_log
        waits.append((second.at - first.at).total_seconds())
    assert all(one.status == "succeeded" for one in found)
    assert min(waits) >= 1.0
    # Up to a tenth of jitter, and what the queue itself takes for two hundred at once.
    assert max(waits) < 3.0
    due = {round(wait, 3) for wait in waits}
    assert len(due) > 20


async def test_w18_a_waiting_retry_survives_its_worker(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = [status(500), OK]
    await engine.endpoint(receiver.url(), retry=[1.5])
    await engine.publish()
    async with engine.working():
        await receiver.until(lambda: len(receiver.calls) == 1)
        await engine.until(lambda one: one.status == "retrying")
    async with engine.working():
        (delivery,) = await engine.finished()
    assert delivery.attempts == len(receiver.calls) == 2
    assert 1.5 <= receiver.calls[1].at - receiver.calls[0].at <= 3.5


async def test_w19_every_attempt_is_the_same_bytes_freshly_signed(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = [status(500), status(500), OK]
    endpoint = await engine.endpoint(receiver.url(), retry=[1.0, 1.0])
    assert isinstance(endpoint.secret, str)
    data = b'{"z":1.0, "a":"\xf0\x9f\x90\xa7 \\/ \\u00e9","n":[1,2.50,1e3],"b":{"y":1,"x":2}}'
    raw = b'{"type":"order.paid","data":' + data + b"}\n"
    event = decode(raw, PublishedEvent)
    await engine.events.publish_one(engine.principal, event, NEVER_ASKED)
    async with engine.working():
        await engine.finished()
    bodies = {call.body for call in receiver.calls}
    assert len(receiver.calls) == 3
    assert len(bodies) == 1
    assert b'"data":' + data in bodies.pop()
    assert len({call.id for call in receiver.calls}) == 1
    times = [int(call.headers["webhook-timestamp"]) for call in receiver.calls]
    assert times == sorted(times)
    assert len(set(times)) == 3
    for call in receiver.calls:
        Standard(endpoint.secret).verify(call.body, call.headers)


async def test_w20_a_manual_resend_replaces_the_pending_retry(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = [status(500), OK]
    await engine.endpoint(receiver.url(), retry=[60.0])
    await engine.publish()
    async with engine.working():
        await receiver.until(lambda: len(receiver.calls) == 1)
        waiting = await engine.until(lambda one: one.status == "retrying")
        shown = await engine.deliveries.resend(engine.principal, waiting.id, NEVER_ASKED)
        assert shown.status == "retrying"
        (delivery,) = await engine.finished(seconds=5)
    assert [(one.number, one.trigger) for one in delivery.attempt_log] == [(1, "event"), (2, "replay")]
    assert len(receiver.calls) == 2


async def test_w20_a_failed_delivery_is_sent_again_with_all_its_retries(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = [status(500), status(500), status(500), OK]
    await engine.endpoint(receiver.url(), retry=[0.1])
    await engine.publish()
    async with engine.working():
        (failed,) = await engine.finished()
        assert (failed.status, failed.attempts) == ("failed", 2)
        await engine.deliveries.resend(engine.principal, failed.id, NEVER_ASKED)
        await receiver.until(lambda: len(receiver.calls) == 4)
        (delivery,) = await engine.finished()
    assert (delivery.status, [one.number for one in delivery.attempt_log]) == ("succeeded", [1, 2, 3, 4])


async def test_w20_a_delivery_that_is_under_way_is_not_sent_twice(engine: Engine, receiver: Receiver) -> None:
    go = asyncio.Event()

    async def later(_: Call, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await _write(writer, OK)

    receiver.answers["/"] = later
    await engine.endpoint(receiver.url())
    await engine.publish()
    async with engine.working():
        await receiver.until(lambda: len(receiver.calls) == 1)
        (pending,) = await engine.log()
        with pytest.raises(BeingDelivered):
            await engine.deliveries.resend(engine.principal, pending.id, NEVER_ASKED)
        go.set()
        await engine.finished()
    assert len(receiver.calls) == 1


async def test_w22_a_waiting_retry_takes_the_new_url_and_secret(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/old"] = status(500)
    endpoint = await engine.endpoint(receiver.url("/old"), retry=[0.7])
    await engine.publish()
    secret = signing.new_secret()
    async with engine.working():
        await receiver.until(lambda: len(receiver.at("/old")) == 1)
        await engine.webhooks.change(engine.tenant, endpoint.id, ChangedWebhook(url=receiver.url("/new")))
        await engine.webhooks.rotate(
            engine.principal, endpoint.id, Rotation(secret=secret, grace_seconds=0), NEVER_ASKED
        )
        await engine.finished()
    assert [call.path for call in receiver.calls] == ["/old", "/new"]
    Standard(secret).verify(receiver.calls[1].body, receiver.calls[1].headers)


@pytest.mark.parametrize("act", ["disable", "delete"])
async def test_w22_what_waits_for_a_disabled_or_deleted_endpoint_is_discarded(
    engine: Engine, receiver: Receiver, act: str
) -> None:
    receiver.answers["/"] = status(500)
    endpoint = await engine.endpoint(receiver.url(), retry=[0.5])
    await engine.publish()
    async with engine.working():
        await receiver.until(lambda: len(receiver.calls) == 1)
        if act == "disable":
            await engine.webhooks.switch(engine.tenant, endpoint.id, enabled=False)
        else:
            await engine.webhooks.delete(engine.tenant, endpoint.id)
        (delivery,) = await engine.finished()
    assert (delivery.status, delivery.attempts) == ("discarded", 1)
    assert len(receiver.calls) == 1


async def test_w35_nothing_goes_to_a_disabled_endpoint_and_a_recovery_brings_what_was_missed(
    engine: Engine, receiver: Receiver
) -> None:
    endpoint = await engine.endpoint(receiver.url(), events=["test.*"])
    started = clock.now() - timedelta(seconds=1)
    async with engine.working():
        first = await engine.publish()
        (sent,) = await engine.finished()
        await engine.webhooks.switch(engine.tenant, endpoint.id, enabled=False)
        missed = [await engine.publish() for _ in range(3)]
        await engine.publish("other.event")
        with pytest.raises(WebhookDisabled):
            await engine.deliveries.resend(engine.principal, sent.id, NEVER_ASKED)
        assert [call.id for call in receiver.calls] == [first]
        await engine.webhooks.switch(engine.tenant, endpoint.id, enabled=True)
        after = await engine.publish()
        await receiver.until(lambda: len(receiver.calls) == 2)

        begun = await engine.deliveries.recover(
            engine.principal, endpoint.id, RecoveryWanted(since=started), NEVER_ASKED
        )
        await receiver.until(lambda: len(receiver.calls) == 5)
        await engine.finished(5)
        shown = await engine.recovered(endpoint.id, begun.id)
    assert shown.requeued == 3
    assert [call.id for call in receiver.calls[:2]] == [first, after]
    assert {call.id for call in receiver.calls[2:]} == set(missed)


async def test_w50_an_expunged_payload_is_not_sent_again_and_its_attempts_stay(
    engine: Engine, receiver: Receiver
) -> None:
    receiver.answers["/"] = status(500)
    await engine.endpoint(receiver.url())
    event = await engine.publish(data={"private": "yes"})
    async with engine.working():
        (failed,) = await engine.finished()
        await engine.events.expunge(engine.tenant, event)
        with pytest.raises(PayloadExpired):
            await engine.deliveries.resend(engine.principal, failed.id, NEVER_ASKED)
    shown = await engine.deliveries.get(engine.tenant, failed.id)
    assert shown.body is None
    assert [one.status for one in shown.attempt_log] == [500]


async def test_w50_what_is_expunged_before_its_first_attempt_is_discarded(engine: Engine, receiver: Receiver) -> None:
    await engine.endpoint(receiver.url())
    event = await engine.publish()
    await engine.events.expunge(engine.tenant, event)
    async with engine.working():
        (delivery,) = await engine.finished()
    assert (delivery.status, delivery.last_error) == ("discarded", "payload_expired")
    assert not receiver.calls


async def _write(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(answer)
    await writer.drain()


def _seen(receiver: Receiver, call: Call) -> int:
    return sum(1 for one in receiver.calls if one.id == call.id)
