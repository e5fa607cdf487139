"""Accepting mail on a real database: what is stored, what is withheld, what is shown."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from penguin_hub.emails.errors import EmailNotFound, SuppressionExists, SuppressionNotFound
from penguin_hub.emails.schemas import NewAttachment
from penguin_hub.emails.suppressions.schemas import NewSuppression
from penguin_hub.http.paging import Pager, Paging
from penguin_hub.platform.db import Database
from support.tenants import make_principal

pager = Pager(b"k" * 32)


async def test_an_accepted_message_is_all_there(post: Any) -> None:
    email_id = await post.send(
        ["Ada <ada@example.com>", "bob@example.com"],
        cc="carl@example.com",
        tags=["invoice", "invoice", "april"],
        metadata={"order": "1815"},
        headers={"X-A": "1"},
        reply_to="help@example.com",
        html="<p>Hi</p>",
        attachments=[NewAttachment(filename="a.txt", content=b"abc")],
    )
    email = await post.get(email_id)
    assert email.status == "queued"
    assert [(r.kind, r.email, r.name, r.status) for r in email.recipients] == [
        ("to", "ada@example.com", "Ada", "queued"),
        ("to", "bob@example.com", None, "queued"),
        ("cc", "carl@example.com", None, "queued"),
    ]
    assert (email.tags, email.metadata, email.headers) == (["invoice", "april"], {"order": "1815"}, {"X-A": "1"})
    assert (email.html, email.text, email.message_id) == ("<p>Hi</p>", "Hi", f"{email_id}@example.com")
    assert [(a.filename, a.content_type, a.size) for a in email.attachments] == [("a.txt", "text/plain", 3)]
    assert [event.type for event in email.events] == ["email.queued"]
    assert email.connection == post.connection
    (row,) = await post.queued()
    assert (row["email_id"], row["attempts"], row["lease"]) == (email_id, 0, None)


async def test_a25_another_tenant_and_the_other_environment_see_nothing(post: Any, database: Database) -> None:
    email_id = await post.send()
    stranger = await make_principal(database)
    test_key = msgspec.structs.replace(post.principal, environment="test")
    for principal in (stranger, test_key):
        with pytest.raises(EmailNotFound):
            await post.service.get(principal, email_id)
        page = await post.service.page(principal, paging(), status=None, tag=None, connection=None)
        assert page.data == []
    for wrong in ("eml_nonsense", "", email_id.replace("eml", "con"), "eml_" + "0" * 26):
        with pytest.raises(EmailNotFound):
            await post.service.get(post.principal, wrong)


def paging(**given: Any) -> Paging:
    return pager.paging(tenant="t", route="emails", limit=given.pop("limit", 20), **given)


async def test_a14_pages_neither_skip_nor_repeat_while_mail_comes_in(post: Any) -> None:
    first = [await post.send() for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        page = await post.service.page(post.principal, paging(limit=3, cursor=cursor))
        seen += [email.id for email in page.data]
        await post.send()
        if not page.has_more:
            break
        cursor = page.next_cursor
    assert seen == sorted(first, reverse=True)
    oldest = await post.service.page(post.principal, paging(limit=2, order="asc"))
    assert [email.id for email in oldest.data] == first[:2]
    counted = await post.service.page(post.principal, paging(limit=2, offset=1))
    assert counted.total == 10


async def test_lists_are_narrowed(post: Any) -> None:
    other = post.connections.add(post.principal, post.provider)
    a = await post.send("Ada@example.com", tags=["x"])
    b = await post.send(["bob@example.com", "ada@example.com"], tags=["x", "y"], connection=other)
    c = await post.send("carl@example.com", connection=post.connection)

    async def found(**filters: Any) -> list[str]:
        page = await post.service.page(post.principal, paging(order="asc"), **filters)
        return [email.id for email in page.data]

    assert await found(recipient="ADA@example.com") == [a, b]
    assert await found(tag="y") == [b]
    assert await found(tag="z") == []
    assert await found(connection=other) == [a, b]
    assert await found(status="queued") == [a, b, c]
    assert await found(status="sent") == []
    now = datetime.now(UTC)
    assert await found(created_from=now - timedelta(minutes=1), created_before=now + timedelta(minutes=1)) == [a, b, c]
    assert await found(created_from=now + timedelta(minutes=1)) == []
    assert await found(created_before=now - timedelta(minutes=1)) == []


async def test_whom_nobody_may_write_to_is_taken_out(post: Any) -> None:
    await post.suppressions.create(post.principal, NewSuppression(email="Ada@Example.com"))
    some = await post.get(await post.send(["ada@example.com", "bob@example.com"], metadata={"k": "v"}))
    assert (some.status, [r.status for r in some.recipients]) == ("queued", ["suppressed", "queued"])
    everybody = await post.get(await post.send("ada@EXAMPLE.com"))
    assert (everybody.status, [event.type for event in everybody.events]) == ("suppressed", ["email.failed"])
    assert everybody.events[0].detail.code == "manual"
    assert [row["email_id"] for row in await post.queued()] == [some.id]
    told = await post.told()
    assert [(kind, data["recipient"], data["reason"]) for kind, data in told] == [
        ("email.failed", "ada@example.com", "suppressed")
    ] * 2
    assert told[0][1]["metadata"] == {"k": "v"}


async def test_an_unsubscription_lets_transactional_mail_through(post: Any) -> None:
    new = NewSuppression(email="ada@example.com", reason="unsubscribe", stream="marketing")
    await post.suppressions.create(post.principal, new)
    assert (await post.get(await post.send(stream="marketing"))).status == "suppressed"
    assert (await post.get(await post.send(stream="transactional"))).status == "queued"


async def test_a27_suppressions_are_the_tenants_and_the_environments_own(post: Any, database: Database) -> None:
    service, principal = post.suppressions, post.principal
    made = await service.create(principal, NewSuppression(email="ada@example.com", reason="complaint"))
    with pytest.raises(SuppressionExists) as refusal:
        await service.create(principal, NewSuppression(email="ADA@example.com"))
    assert refusal.value.extra == {"suppression_id": made.id}
    stranger = await make_principal(database)
    test_key = msgspec.structs.replace(principal, environment="test")
    for other in (stranger, test_key):
        assert (await service.page(other, paging())).data == []
        with pytest.raises(SuppressionNotFound):
            await service.delete(other, made.id)
        await service.create(other, NewSuppression(email="ada@example.com"))
    assert (await service.page(principal, paging(), email="Ada@example.com", reason="complaint")).data == [made]
    assert (await service.page(principal, paging(), stream="marketing")).data == []
    await service.delete(principal, made.id)
    with pytest.raises(SuppressionNotFound):
        await service.delete(principal, made.id)
    assert (await post.get(await post.send())).status == "queued"


async def test_many_at_once_are_all_accepted_in_their_own_order(post: Any) -> None:
    accepted = await asyncio.gather(*(post.send(f"p{number}@example.com") for number in range(60)))
    assert len(set(accepted)) == 60
    assert len(await post.queued()) == 60
