"""Endpoints that fail for long: CASES W33, W34."""

from datetime import timedelta

import msgspec
from penguin_hub.delivery.health import Health
from support.delivery import OK, Engine, Receiver, status

DAY = timedelta(days=1)


async def _attempt(engine: Engine, receiver: Receiver) -> None:
    """One event to each of the endpoints, by a worker that knows nothing of what was before."""
    before = len(await engine.log())
    await engine.publish("work")
    async with engine.working(health=Health(window=DAY)):
        await engine.finished(before + 1)


async def _age(engine: Engine, endpoint: str, hours: float) -> None:
    await engine.execute(
        "UPDATE webhooks SET failing_since = failing_since - $2::interval, "
        "last_failed_at = last_failed_at - $2::interval WHERE id = $1",
        endpoint,
        timedelta(hours=hours),
    )


def _told(receiver: Receiver) -> list[object]:
    events = [msgspec.json.decode(call.body) for call in receiver.at("/told")]
    return [event["data"].get("percent", event["type"]) for event in events]


async def test_w33_failing_for_the_whole_window_disables_across_restarts(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = status(500)
    endpoint = await engine.endpoint(receiver.url(), events=["work"])
    await engine.endpoint(receiver.url("/told"), events=["endpoint.disabled"])
    await _attempt(engine, receiver)
    shown = await engine.webhooks.get(engine.tenant, endpoint.id)
    assert shown.health.failing_since is not None
    # Failing hourly the whole day long, as far as the rows can tell.
    await engine.execute(
        "UPDATE webhooks SET failing_since = failing_since - interval '25 hours' WHERE id = $1", endpoint.id
    )
    await _attempt(engine, receiver)
    async with engine.working():
        await receiver.until(lambda: len(receiver.at("/told")) == 1)
        await engine.finished(3)
    shown = await engine.webhooks.get(engine.tenant, endpoint.id)
    assert (shown.enabled, shown.disabled_reason) == (False, "failing")
    data = msgspec.json.decode(receiver.at("/told")[0].body)["data"]
    assert data["endpoint_id"] == endpoint.id
    assert data["failing_since"] is not None


async def test_w33_one_success_inside_the_window_ends_it(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = [status(500), OK, status(500)]
    endpoint = await engine.endpoint(receiver.url(), events=["work"])
    await _attempt(engine, receiver)
    await engine.execute(
        "UPDATE webhooks SET failing_since = failing_since - interval '23 hours' WHERE id = $1", endpoint.id
    )
    await _attempt(engine, receiver)
    assert (await engine.webhooks.get(engine.tenant, endpoint.id)).health.failing_since is None
    await _attempt(engine, receiver)
    shown = await engine.webhooks.get(engine.tenant, endpoint.id)
    assert shown.enabled
    assert shown.health.failing_since is not None


async def test_w33_two_failures_further_apart_than_the_window_do_not_disable(
    engine: Engine, receiver: Receiver
) -> None:
    receiver.answers["/"] = status(500)
    endpoint = await engine.endpoint(receiver.url(), events=["work"])
    await _attempt(engine, receiver)
    await _age(engine, endpoint.id, 30)
    await _attempt(engine, receiver)
    assert (await engine.webhooks.get(engine.tenant, endpoint.id)).enabled


async def test_w34_each_warning_comes_once_and_a_success_starts_over(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = status(500)
    endpoint = await engine.endpoint(receiver.url(), events=["work"])
    await engine.endpoint(receiver.url("/told"), events=["endpoint.*"])
    await _attempt(engine, receiver)
    for hours in (11, 2, 1, 4, 1, 4, 2):  # 11, 13, 14, 18, 19, 23, 25 of 24 hours
        await engine.execute(
            "UPDATE webhooks SET failing_since = failing_since - $2::interval WHERE id = $1",
            endpoint.id,
            timedelta(hours=hours),
        )
        await _attempt(engine, receiver)
    async with engine.working():
        await receiver.until(lambda: len(receiver.at("/told")) >= 4)
        await engine.finished()
    assert sorted(_told(receiver), key=str) == [50, 70, 90, "endpoint.disabled"]
    await engine.webhooks.switch(engine.tenant, endpoint.id, enabled=True)
    receiver.answers["/"] = OK
    await _attempt(engine, receiver)
    receiver.answers["/"] = status(500)
    await _attempt(engine, receiver)
    await engine.execute(
        "UPDATE webhooks SET failing_since = failing_since - interval '13 hours' WHERE id = $1", endpoint.id
    )
    await _attempt(engine, receiver)
    async with engine.working():
        await receiver.until(lambda: len(receiver.at("/told")) == 5)
    assert _told(receiver).count(50) == 2
