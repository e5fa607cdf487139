"""The worker against a scripted provider: retries, refusals, batches, slow providers, and workers that die."""

import asyncio
from typing import Any

import pytest
from penguin_hub.emails import lane, worker
from penguin_hub.emails.retry import MAX_ATTEMPTS
from penguin_hub.emails.suppressions.schemas import NewSuppression
from penguin_hub.http.paging import Paging
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Database, DatabaseUnavailable
from penguin_hub_sdk import errors
from penguin_hub_sdk.connectors import Message, Receipt, Refusal
from penguin_hub_sdk.errors import PluginError
from penguin_hub_sdk.events import E, ProviderEvent


def raising(*outcomes: PluginError | None) -> Any:
    """A script that raises these in turn (None: takes the message), the last one for ever."""
    left = list(outcomes)

    async def script(message: Message) -> Receipt:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if outcome is not None:
            raise outcome
        return Receipt(f"r-{message.id}")

    return script


async def types(post: Any) -> list[str]:
    return [kind for kind, _ in await post.told()]


async def test_a_message_goes_out_whole_and_is_told(post: Any) -> None:
    email_id = await post.send(
        "Ada <ada@example.com>", bcc="bob@example.com", tags=["t"], metadata={"k": "v"}, stream="marketing"
    )
    async with post.working():
        email = await post.until(email_id, "sent")
    (message,) = post.provider.sent
    assert (message.id, message.message_id) == (email_id, f"{email_id}@example.com")
    assert [(a.email, a.name) for a in message.to] == [("ada@example.com", "Ada")]
    assert [a.email for a in message.bcc] == ["bob@example.com"]
    assert (message.tags, message.metadata, message.stream) == (("t",), {"k": "v"}, "marketing")
    assert (email.plugin, [event.type for event in email.events]) == (
        "acme",
        ["email.queued", "email.sent", "email.sent"],
    )
    assert await post.queued() == []
    assert [(kind, data["recipient"]) for kind, data in await post.told()] == [
        ("email.sent", "ada@example.com"),
        ("email.sent", "bob@example.com"),
    ]
    assert (await post.told())[0][1] == {
        "email_id": email_id,
        "message_id": f"{email_id}@example.com",
        "recipient": "ada@example.com",
        "subject": "Hello",
        "tags": ["t"],
        "metadata": {"k": "v"},
        "connection": post.connection,
        "plugin": "acme",
        "contact_id": None,
    }


async def test_a_message_accepted_while_the_worker_is_idle_goes_out_at_once(post: Any) -> None:
    async with post.working():
        await post.until(await post.send(), "sent")
        started = asyncio.get_running_loop().time()
        await post.until(await post.send(), "sent")
        assert asyncio.get_running_loop().time() - started < worker.POLL_SECONDS


async def test_what_may_get_better_is_tried_again_with_the_same_message_id(post: Any) -> None:
    post.provider.script = raising(errors.NetworkFailed("no answer"), errors.RateLimited("slow", retry_after=1), None)
    email_id = await post.send()
    async with post.working():
        for count in (1, 2):
            await post.provider.until_sent(count)
            await _until_settled(post, count)
            await post.make_due()
        email = await post.until(email_id, "sent")
    assert [event.type for event in email.events] == ["email.queued", "email.deferred", "email.deferred", "email.sent"]
    assert email.events[1].detail.reason == "no answer"
    assert len({message.message_id for message in post.provider.sent}) == 1
    assert await types(post) == ["email.sent"]


async def _until_settled(post: Any, attempts: int) -> None:
    for _ in range(500):
        rows = await post.queued()
        if rows and rows[0]["lease"] is None and rows[0]["attempts"] == attempts:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(rows)


async def test_attempts_end(post: Any) -> None:
    post.provider.script = raising(errors.ProviderFailed("down"))
    email_id = await post.send()
    async with post.database.tenant(post.principal.tenant) as connection:
        await connection.execute("UPDATE email_queue SET attempts = $1", MAX_ATTEMPTS - 1)
    async with post.working():
        email = await post.until(email_id, "failed")
    assert email.events[-1].detail.reason == "down"
    assert await types(post) == ["email.failed"]
    assert await post.queued() == []


@pytest.mark.parametrize(
    "error", [errors.Rejected("bad from", code="300"), errors.AuthExpired("reconnect"), errors.ConfigInvalid("no")]
)
async def test_what_will_not_get_better_fails_at_once(post: Any, error: PluginError) -> None:
    post.provider.script = raising(error)
    email_id = await post.send()
    async with post.working():
        await post.until(email_id, "failed")
    assert len(post.provider.sent) == 1
    assert [type(found) for found in post.connections.reports] == [type(error)]
    assert (await post.told())[0][1]["reason"] == error.detail


async def test_refused_recipients_have_fates_of_their_own(post: Any) -> None:
    busy = [True]

    async def script(message: Message) -> Receipt:
        refused = [Refusal("gone@example.com", "550 no such user", "5.1.1")] if len(message.recipients) > 1 else []
        if busy.pop() if busy else False:
            refused.append(Refusal("busy@example.com", "450 busy", "4.2.1", permanent=False))
        return Receipt(f"r-{len(post.provider.sent)}", tuple(refused))

    post.provider.script = script
    email_id = await post.send(["ada@example.com", "gone@example.com"], bcc="busy@example.com")
    async with post.working():
        await post.provider.until_sent(1)
        await _until_settled(post, 1)
        partly = await post.get(email_id)
        assert [r.status for r in partly.recipients] == ["sent", "bounced", "queued"]
        await post.make_due()
        for _ in range(500):
            if not await post.queued():
                break
            await asyncio.sleep(0.01)
    email = await post.get(email_id)
    assert [r.status for r in email.recipients] == ["sent", "bounced", "sent"]
    # The second attempt went to the one who was busy, and to nobody else.
    assert [[a.email for a in message.recipients] for message in post.provider.sent][1:] == [["busy@example.com"]]
    page = await post.suppressions.page(post.principal, Paging())
    assert [(s.email, s.reason, s.stream, s.source) for s in page.data] == [
        ("gone@example.com", "hard_bounce", "all", post.connection)
    ]
    assert sorted(await types(post)) == ["email.bounced", "email.sent", "email.sent"]


async def test_a_suppression_stops_what_is_queued_already(post: Any) -> None:
    email_id = await post.send(["ada@example.com", "bob@example.com"])
    gone = await post.send("ada@example.com")
    await post.suppressions.create(post.principal, NewSuppression(email="ada@example.com", reason="complaint"))
    async with post.working():
        email = await post.until(email_id, "sent")
        await post.until(gone, "suppressed")
    assert [[a.email for a in message.recipients] for message in post.provider.sent] == [["bob@example.com"]]
    assert [r.status for r in email.recipients] == ["suppressed", "sent"]


async def test_blind_copies_alone_are_written_to_one_by_one(post: Any) -> None:
    email_id = await post.send("ada@example.com", bcc=["b1@example.com", "b2@example.com"])
    await post.suppressions.create(post.principal, NewSuppression(email="ada@example.com"))
    async with post.working():
        await post.provider.until_sent(2)
        await post.until(email_id, "sent")
    shown = [([a.email for a in m.to], len(m.recipients)) for m in post.provider.sent]
    assert shown == [(["b1@example.com"], 1), (["b2@example.com"], 1)]


async def test_batches_are_made_for_providers_that_take_them(post: Any, batch_provider: Any) -> None:
    post.connection = post.connections.add(post.principal, batch_provider, batch=50, concurrency=2)

    async def script(message: Message) -> Receipt:
        if message.to[0].email == "p7@example.com":
            raise errors.Rejected("not this one", code="406")
        return Receipt(f"r-{message.id}")

    batch_provider.script = script
    accepted = [await post.send(f"p{number}@example.com") for number in range(120)]
    async with post.working():
        found = [await post.until(email_id, "sent", "failed") for email_id in accepted]
    assert [email.status for email in found].count("failed") == 1
    assert max(batch_provider.batches) == 50
    assert sum(batch_provider.batches) == 120


async def test_a_slow_provider_holds_up_nobody_else(post: Any, provider: Any) -> None:
    hang = asyncio.Event()

    async def slow(message: Message) -> Receipt:
        await hang.wait()
        return Receipt("late")

    provider.script = slow
    stuck = post.connections.add(post.principal, provider, concurrency=4)
    slow_ones = [await post.send(connection=stuck) for _ in range(40)]
    quick = [await post.send(connection=post.connection) for _ in range(40)]
    async with post.working():
        for email_id in quick:
            await post.until(email_id, "sent", seconds=5)
        assert len(provider.sent) == 4, "never more at once than the manifest says"
        hang.set()
        for email_id in slow_ones:
            await post.until(email_id, "sent")


async def test_the_queues_age_is_known(post: Any) -> None:
    assert await post.service.overdue() == 0
    await post.send()
    await post.send()
    async with post.database.tenant(post.principal.tenant) as connection:
        await connection.execute(
            "UPDATE email_queue SET due_at = now() - interval '1 h' "
            "WHERE email_id = (SELECT max(email_id) FROM email_queue)"
        )
    assert 3590 < await post.service.overdue() < 3700


async def test_a_connection_that_is_gone_fails_its_mail(post: Any) -> None:
    email_id = await post.send(connection=ids.new("cnx"))
    async with post.working():
        email = await post.until(email_id, "failed")
    assert email.events[-1].detail.code == "connection_gone"


async def test_announced_events_are_recorded_when_they_are_due(post: Any) -> None:
    async def script(message: Message) -> Receipt:
        now = clock.now()
        events = tuple(
            ProviderEvent(type=kind, raw_type="x", at=now, key=kind, message="r1", recipient="ada@example.com")
            for kind in (E.DELIVERED, E.OPENED)
        )
        return Receipt("r1", events=events)

    post.provider.script = script
    email_id = await post.send()
    async with post.working():
        email = await post.until(email_id, "opened")
    assert {event.type for event in email.events} == {
        "email.queued", "email.sent", "email.delivered", "email.opened",
    }  # fmt: skip
    assert sorted(await types(post)) == ["email.delivered", "email.opened", "email.sent"]


async def test_a_dead_workers_mail_is_taken_over_when_the_lease_ends(
    post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(worker, "LEASE_SECONDS", 1.0)

    async def never(message: Message) -> Receipt:
        await asyncio.Event().wait()
        raise AssertionError

    post.provider.script = never
    email_id = await post.send()
    first = asyncio.create_task(post.worker().run(asyncio.Event()))
    await post.provider.until_sent(1)
    first.cancel()  # nothing is settled and nothing released: what kill -9 leaves
    await asyncio.gather(first, return_exceptions=True)
    (row,) = await post.queued()
    assert row["lease"] is not None
    post.provider.script = None
    async with post.working():
        await post.until(email_id, "sent")
    assert len({message.message_id for message in post.provider.sent}) == 1
    assert len(post.provider.sent) == 2


async def test_a_living_workers_lease_is_renewed(post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(worker, "LEASE_SECONDS", 0.6)
    go_on = asyncio.Event()

    async def slow(message: Message) -> Receipt:
        await go_on.wait()
        return Receipt("r1")

    post.provider.script = slow
    email_id = await post.send()
    async with post.working():
        await post.provider.until_sent(1)
        async with post.working():  # a second worker, which must leave it alone
            await asyncio.sleep(2)
        go_on.set()
        await post.until(email_id, "sent")
    assert len(post.provider.sent) == 1


async def test_who_lost_the_lease_writes_nothing(post: Any) -> None:
    go_on = asyncio.Event()

    async def slow(message: Message) -> Receipt:
        await go_on.wait()
        return Receipt("r-late")

    post.provider.script = slow
    email_id = await post.send()
    async with post.working():
        await post.provider.until_sent(1)
        async with post.database.tenant(post.principal.tenant) as connection:
            await connection.execute("UPDATE email_queue SET lease = 'somebody else', due_at = now() + interval '1 h'")
        go_on.set()
    assert (await post.get(email_id)).status == "queued"
    assert await types(post) == []


async def test_two_workers_send_each_message_once(post: Any) -> None:
    accepted = [await post.send() for _ in range(100)]
    async with post.working(), post.working():
        for email_id in accepted:
            await post.until(email_id, "sent")
    assert sorted(message.id for message in post.provider.sent) == sorted(accepted)


async def test_a_note_that_cannot_be_written_now_is_written_later(post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = post.service.recorder.settle
    failures = iter([DatabaseUnavailable("away"), DatabaseUnavailable("away")])

    async def flaky(*arguments: Any) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        await settle(*arguments)

    monkeypatch.setattr(post.service.recorder, "settle", flaky)
    email_id = await post.send()
    async with post.working():
        await post.until(email_id, "sent")
    assert len(post.provider.sent) == 1


async def test_one_outcome_that_cannot_be_written_does_not_take_the_others(
    post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = post.service.recorder.settle
    go_on = asyncio.Event()

    async def together(message: Message) -> Receipt:
        await go_on.wait()
        return Receipt(f"r-{message.id}")

    post.provider.script = together
    good = [await post.send(f"p{n}@example.com") for n in range(3)]
    poison = await post.send("poison@example.com")
    good += [await post.send(f"q{n}@example.com") for n in range(3)]

    async def picky(connection: Any, tenant: str, connection_id: str, plugin: str | None, attempts: Any) -> None:
        if any(attempt.claim.email_id == poison for attempt in attempts):
            raise ValueError("cannot be written")
        await settle(connection, tenant, connection_id, plugin, attempts)

    monkeypatch.setattr(post.service.recorder, "settle", picky)
    async with post.working():
        await post.provider.until_sent(7)
        go_on.set()
        for email_id in good:
            await post.until(email_id, "sent")
    assert (await post.get(poison)).status == "queued"


async def test_stopping_finishes_what_was_begun_and_leaves_no_lease(post: Any) -> None:
    begun = asyncio.Event()

    async def slow(message: Message) -> Receipt:
        begun.set()
        await asyncio.sleep(0.3)
        return Receipt(f"r-{message.id}")

    post.provider.script = slow
    for _ in range(30):
        await post.send()
    async with post.working():
        await begun.wait()
    rows = await post.queued()
    assert [row for row in rows if row["lease"] is not None] == []
    assert len(rows) + len(post.provider.sent) == 30


async def test_a_message_that_kills_its_worker_is_given_up(post: Any) -> None:
    email_id = await post.send()
    async with post.database.tenant(post.principal.tenant) as connection:
        await connection.execute("UPDATE email_queue SET attempts = $1", MAX_ATTEMPTS)
    async with post.working():
        email = await post.until(email_id, "failed")
    assert (email.events[-1].detail.code, post.provider.sent) == ("worn_out", [])


async def test_the_worker_outlives_an_unreachable_database(post: Any, settings: Any) -> None:
    database = Database(settings.database_url)
    stop = asyncio.Event()
    task = asyncio.create_task(post.worker(database).run(stop))  # its pools are not open yet
    await asyncio.sleep(0.3)
    assert not task.done()
    await database.open()
    await post.until(await post.send(), "sent")
    stop.set()
    await asyncio.wait_for(task, 10)
    await database.close()


async def test_connections_take_turns_when_there_are_more_than_lanes(
    post: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_LANES", 2)
    monkeypatch.setattr(worker, "TURN_SECONDS", 0.2)

    async def unhurried(message: Message) -> Receipt:
        await asyncio.sleep(0.1)
        return Receipt(f"r-{message.id}")

    provider.script = unhurried
    busy = [post.connections.add(post.principal, provider, concurrency=1) for _ in range(2)]
    for connection in busy * 60:
        await post.send(connection=connection)
    late = [await post.send(connection=post.connections.add(post.principal, post.provider)) for _ in range(4)]
    async with post.working():
        for email_id in late:
            await post.until(email_id, "sent", seconds=5)
    assert len(provider.sent) < 120, "the busy ones were not waited for"


async def test_a_message_that_was_deleted_meanwhile_leaves_the_queue(post: Any) -> None:
    gone, stays = await post.send(), await post.send()
    async with post.database.tenant(post.principal.tenant) as connection:
        for table, column in (("emails", "id"), ("email_contents", "email_id"), ("email_recipients", "email_id")):
            await connection.execute(f"DELETE FROM {table} WHERE {column} = $1", gone)
    async with post.working():
        await post.until(stays, "sent")
    assert await post.queued() == []
