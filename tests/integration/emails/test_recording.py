"""What providers report, in whatever order, however often, and about whatever."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from penguin_hub.contacts.schemas import NewContact
from penguin_hub.http.paging import Paging
from penguin_hub.platform import ids
from penguin_hub.platform.db import Database
from penguin_hub_sdk.connectors import Message, Receipt
from penguin_hub_sdk.events import Detail, E, ProviderEvent
from support.tenants import make_principal

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def report(kind: E, *, key: str | None = None, after: float = 0, **fields: Any) -> ProviderEvent:
    return ProviderEvent(
        type=kind, raw_type=f"raw-{kind}", at=T0 + timedelta(seconds=after), key=key or ids.new("key"), **fields
    )


async def record(post: Any, *events: ProviderEvent, connection: str | None = None) -> None:
    async with post.database.tenant(post.principal.tenant) as held:
        await post.service.record(held, post.principal.tenant, connection or post.connection, events)


async def sent(post: Any, **fields: Any) -> str:
    """The id of a message that the provider took as `r-<id>-1`."""
    email_id: str = await post.send(**fields)
    async with post.working():
        await post.until(email_id, "sent")
    return email_id


async def suppressed(post: Any) -> list[tuple[str, str, str]]:
    page = await post.suppressions.page(post.principal, Paging())
    return [(one.email, one.reason, one.stream) for one in page.data]


@pytest.mark.parametrize("by", ["our id", "the provider's"])
async def test_reports_are_matched_by_either_id(post: Any, by: str) -> None:
    email_id = await sent(post)
    name = {"email": email_id} if by == "our id" else {"message": f"r-{email_id}-1"}
    await record(
        post,
        report(E.DELIVERED, after=1, recipient="ada@example.com", **name),
        report(E.CLICKED, after=3, recipient="ADA@example.com", detail=Detail(url="https://example.com/"), **name),
        report(E.OPENED, after=2, recipient="ada@example.com", **name),
    )
    email = await post.get(email_id)
    assert (email.status, email.recipients[0].status) == ("clicked", "clicked")
    told = [(kind, data) for kind, data in await post.told() if kind != "email.sent"]
    assert [kind for kind, _ in told] == ["email.delivered", "email.opened", "email.clicked"]
    assert told[2][1]["url"] == "https://example.com/"
    assert {data["recipient"] for _, data in told} == {"ada@example.com"}
    clicked = next(event for event in email.events if event.type == "email.clicked")
    assert (clicked.raw_type, clicked.at) == ("raw-email.clicked", T0 + timedelta(seconds=3))


async def test_a_repeated_report_changes_nothing(post: Any) -> None:
    email_id = await sent(post)
    event = report(E.BOUNCED, email=email_id, recipient="ada@example.com", detail=Detail(bounce="hard"))
    await record(post, event, event)
    await record(post, event)
    await asyncio.gather(*(record(post, event) for _ in range(5)))
    email = await post.get(email_id)
    assert [event.type for event in email.events].count("email.bounced") == 1
    assert [kind for kind, _ in await post.told()] == ["email.sent", "email.bounced"]
    assert await suppressed(post) == [("ada@example.com", "hard_bounce", "all")]


async def test_late_reports_do_not_turn_back_time(post: Any) -> None:
    email_id = await sent(post)
    await record(post, report(E.OPENED, email=email_id))
    await record(post, report(E.DELIVERED, email=email_id), report(E.DEFERRED, email=email_id))
    assert (await post.get(email_id)).status == "opened"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (report(E.COMPLAINED), [("ada@example.com", "complaint", "all")]),
        (report(E.UNSUBSCRIBED), [("ada@example.com", "unsubscribe", "marketing")]),
        (report(E.BOUNCED, detail=Detail(bounce="hard")), [("ada@example.com", "hard_bounce", "all")]),
        (report(E.BOUNCED, detail=Detail(bounce="soft")), []),
        (report(E.FAILED), []),
    ],
)
async def test_what_follows_for_the_next_message(post: Any, event: ProviderEvent, expected: Any) -> None:
    email_id = await sent(post)
    await record(post, msgspec.structs.replace(event, email=email_id))
    assert await suppressed(post) == expected
    marketing = await post.get(await post.send(stream="marketing"))
    assert marketing.status == ("suppressed" if expected else "queued")


async def test_resubscribing_lifts_the_unsubscription_alone(post: Any) -> None:
    email_id = await sent(post)
    await record(post, report(E.UNSUBSCRIBED, email=email_id), report(E.COMPLAINED, email=email_id))
    await record(post, report(E.RESUBSCRIBED, email=email_id))
    assert await suppressed(post) == [("ada@example.com", "complaint", "all")]


async def test_unknown_events_are_kept_and_not_told(post: Any) -> None:
    email_id = await sent(post)
    await record(post, report(E.UNKNOWN, email=email_id))
    email = await post.get(email_id)
    assert (email.status, email.events[0].raw_type) == ("sent", "raw-unknown")
    assert [kind for kind, _ in await post.told()] == ["email.sent"]


async def test_a_report_on_an_unknown_message_is_kept_and_still_suppresses(post: Any) -> None:
    event = report(E.COMPLAINED, message="nobody-knows", recipient="eve@example.com")
    await record(post, event)
    await record(post, event)
    await record(post, report(E.OPENED, email=ids.new("eml")), report(E.OPENED, email="'; DROP TABLE emails"))
    assert await suppressed(post) == [("eve@example.com", "complaint", "all")]
    assert await post.told() == []


async def test_a25_a_provider_speaks_for_its_own_messages_only(post: Any, database: Database) -> None:
    email_id = await sent(post)
    other = post.connections.add(post.principal, post.provider)
    await record(post, report(E.OPENED, email=email_id), connection=other)
    stranger = await make_principal(database)
    async with database.tenant(stranger.tenant) as held:
        await post.service.record(held, stranger.tenant, post.connection, [report(E.OPENED, email=email_id)])
    assert (await post.get(email_id)).status == "sent"


async def test_a_report_that_overtakes_the_receipt_is_matched_by_it(post: Any) -> None:
    async def quick(message: Message) -> Receipt:
        await record(post, report(E.DELIVERED, message="r-quick", recipient="ada@example.com"))
        return Receipt("r-quick")

    post.provider.script = quick
    email_id = await post.send()
    async with post.working():
        email = await post.until(email_id, "delivered")
    assert {event.type for event in email.events} == {"email.queued", "email.sent", "email.delivered"}
    assert [kind for kind, _ in await post.told()] == ["email.sent", "email.delivered"]


async def test_a_report_and_a_receipt_that_missed_each_other_are_brought_together(post: Any) -> None:
    email_id = await sent(post)
    await record(post, report(E.DELIVERED, message="r-other", recipient="ada@example.com"))
    async with post.database.tenant(post.principal.tenant) as held:
        await held.execute(
            "INSERT INTO email_receipts (tenant_id, connection_id, provider_id, email_id) VALUES ($1, $2, $3, $4)",
            post.principal.tenant,
            post.connection,
            "r-other",
            email_id,
        )
    await post.worker()._keep_up()
    assert (await post.get(email_id)).status == "delivered"


async def test_who_got_it_already_is_not_written_to_again(post: Any) -> None:
    """A worker died after the provider took the message, and the provider has reported on it since."""
    email_id = await post.send(["ada@example.com", "bob@example.com"])
    await record(post, report(E.DELIVERED, email=email_id, recipient="ada@example.com"))
    async with post.working():
        for _ in range(500):
            if not await post.queued():
                break
            await asyncio.sleep(0.01)
    assert [[a.email for a in message.recipients] for message in post.provider.sent] == [["bob@example.com"]]
    email = await post.get(email_id)
    assert [r.status for r in email.recipients] == ["delivered", "sent"]


async def test_reports_on_one_message_at_the_same_time_are_all_kept(post: Any) -> None:
    people = [f"p{number}@example.com" for number in range(20)]
    email_id = await sent(post, to=people)
    await asyncio.gather(*(record(post, report(E.DELIVERED, email=email_id, recipient=one)) for one in people))
    email = await post.get(email_id)
    assert {recipient.status for recipient in email.recipients} == {"delivered"}
    assert len(await post.told()) == 40


async def test_long_texts_are_cut(post: Any) -> None:
    email_id = await sent(post)
    await record(
        post,
        report(E.BOUNCED, key="k" * 5000, email=email_id, recipient="r" * 5000, detail=Detail(reason="x" * 50_000)),
    )
    email = await post.get(email_id)
    assert len(next(e for e in email.events if e.type == "email.bounced").detail.reason or "") == 1000


async def test_events_carry_the_contact_and_its_tags(post: Any) -> None:
    contact = await post.contacts.create(post.principal, NewContact(email="ADA@example.com", tags=["vip"]))
    email_id = await sent(post)
    await record(post, report(E.OPENED, email=email_id))
    assert [data["contact_id"] for _, data in (await post.told())[1:]] == [contact.id] * 2
    async with post.database.tenant(post.principal.tenant) as connection:
        rows = await connection.fetch("SELECT tags, subject FROM events WHERE type LIKE 'email.%'")
    assert [(row["tags"], row["subject"]) for row in rows] == [(["vip"], email_id)] * 2
