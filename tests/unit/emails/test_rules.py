"""The pure rules: how far a message has come, what an attempt means, when it is tried again."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penguin_hub.emails import retry
from penguin_hub.emails.content import Content
from penguin_hub.emails.outcome import Attempt, bounce_kind, judge
from penguin_hub.emails.schemas import Status
from penguin_hub.emails.sending import groups, item, portion
from penguin_hub.emails.store_queue import Claim, Loaded, Pending
from penguin_hub.emails.suppressions.service import Standing
from penguin_hub.emails.timeline import FORWARD, OVERALL, STATUS, Person, Tracked, overall, suppression
from penguin_hub.emails.worker import ByteBudget
from penguin_hub_sdk import errors
from penguin_hub_sdk.connectors import Address, Receipt, Refusal
from penguin_hub_sdk.events import Detail, E

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def tracked(*statuses: Status) -> Tracked:
    people = [Person(n, f"p{n}@example.com", f"p{n}@example.com", status) for n, status in enumerate(statuses, 1)]
    return Tracked(
        "eml_1", "wsp_1", "cnx_1", "acme", overall(p.status for p in people), False, "m@x", "Hi", ["a"], {}, people
    )


def pending(*numbers: int, kind: Any = "to") -> list[Pending]:
    return [Pending(n, kind, f"p{n}@example.com", f"p{n}@example.com", None) for n in numbers]


def claim(attempt: int = 1, size: int = 10) -> Claim:
    return Claim("ten_1", "eml_1", "cnx_1", attempt, size, "lea_1")


def test_every_status_has_its_place_in_both_orders() -> None:
    assert sorted(FORWARD) == sorted(OVERALL)
    assert set(STATUS.values()) < set(FORWARD)


@given(st.permutations([E.SENT, E.DELIVERED, E.OPENED, E.CLICKED]))
def test_reports_in_any_order_end_in_the_same_state(order: list[E]) -> None:
    email = tracked("queued")
    for kind in order:
        email.apply(kind, email.people[0])
    assert (email.status, email.people[0].status) == ("clicked", "clicked")


def test_a_late_delivered_does_not_undo_opened() -> None:
    email = tracked("opened")
    email.apply(E.DELIVERED, email.people[0])
    assert email.status == "opened"


def test_a_message_that_reached_somebody_is_not_a_bounced_one() -> None:
    email = tracked("sent", "sent")
    email.apply(E.BOUNCED, email.people[0])
    email.apply(E.DELIVERED, email.people[1])
    assert (email.status, [p.status for p in email.people]) == ("delivered", ["bounced", "delivered"])


def test_a_report_that_names_nobody_moves_the_message_and_no_recipient() -> None:
    email = tracked("delivered", "delivered")
    email.apply(E.OPENED, email.person(None))
    assert (email.status, [p.status for p in email.people]) == ("opened", ["delivered", "delivered"])
    email.apply(E.DELIVERED, email.people[0])
    assert email.status == "opened"


def test_of_one_recipient_there_is_no_doubt_of_two_there_is() -> None:
    assert tracked("sent").person("rewritten@example.com") is not None
    assert tracked("sent", "sent").person("stranger@example.com") is None


@pytest.mark.parametrize(
    ("kind", "bounce", "expected"),
    [
        (E.BOUNCED, "hard", ("hard_bounce", "all")),
        (E.BOUNCED, "soft", None),
        (E.BOUNCED, "block", None),
        (E.BOUNCED, None, None),
        (E.COMPLAINED, None, ("complaint", "all")),
        (E.UNSUBSCRIBED, None, ("unsubscribe", "marketing")),
        (E.FAILED, None, None),
        (E.OPENED, None, None),
    ],
)
def test_what_suppresses_and_for_which_mail(kind: E, bounce: Any, expected: Any) -> None:
    assert suppression(kind, Detail(bounce=bounce)) == expected


@pytest.mark.parametrize(
    ("code", "kind"),
    [("5.1.1", "hard"), ("5.1.10", "hard"), ("5.7.1", "block"), ("5.2.2", "undetermined"), (None, "undetermined"),
     ("406", "undetermined"), ("5.1.15", "undetermined")],
)  # fmt: skip
def test_only_codes_about_the_address_are_hard(code: str | None, kind: str) -> None:
    assert bounce_kind(code) == kind


def test_a_receipt_sends_everybody_but_the_refused() -> None:
    email = tracked("queued", "queued", "queued")
    receipt = Receipt(
        "r1",
        (
            Refusal("p2@example.com", "no such user", "5.1.1"),
            Refusal("p3@example.com", "busy", "4.2.1", permanent=False),
        ),
    )
    lines, again = judge(email, Attempt(claim=claim(), tried=pending(1, 2, 3), receipt=receipt), NOW)
    assert [(line.type, line.recipient, line.detail.bounce, line.told) for line in lines] == [
        (E.SENT, "p1@example.com", None, True),
        (E.BOUNCED, "p2@example.com", "hard", True),
        (E.DEFERRED, "p3@example.com", None, False),
    ]
    assert [p.status for p in email.people] == ["sent", "bounced", "queued"]
    assert email.status == "sent"
    assert again is not None
    assert (again[0] > NOW, again[1]) == (True, 1)


def test_a_temporary_refusal_is_final_when_attempts_run_out() -> None:
    email = tracked("queued")
    refusal = Refusal("p1@example.com", "busy", "4.2.1", permanent=False)
    attempt = Attempt(claim=claim(retry.MAX_ATTEMPTS), tried=pending(1), receipt=Receipt("r", (refusal,)))
    lines, again = judge(email, attempt, NOW)
    assert again is None
    assert (lines[0].type, lines[0].detail.bounce, email.status) == (E.BOUNCED, "soft", "bounced")


def test_a_retryable_error_changes_nothing_but_the_timeline() -> None:
    email = tracked("queued")
    error = errors.RateLimited("slow down", retry_after=77)
    lines, again = judge(email, Attempt(claim=claim(), tried=pending(1), error=error), NOW)
    assert [(line.type, line.recipient, line.told) for line in lines] == [(E.DEFERRED, None, False)]
    assert again == (NOW + timedelta(seconds=77), 1)
    assert email.status == "queued"


@pytest.mark.parametrize(
    ("error", "attempt"),
    [
        (errors.Rejected("bad sender", code="300"), 1),
        (errors.AuthExpired("no"), 1),
        (errors.ConfigInvalid("no"), 1),
        (errors.ProviderFailed("down"), retry.MAX_ATTEMPTS),
        (errors.NetworkFailed("down"), retry.MAX_ATTEMPTS),
    ],
)
def test_what_will_not_get_better_fails_and_is_told(error: errors.PluginError, attempt: int) -> None:
    email = tracked("queued", "queued")
    lines, again = judge(email, Attempt(claim=claim(attempt), tried=pending(1, 2), error=error), NOW)
    assert again is None
    assert [(line.type, line.told) for line in lines] == [(E.FAILED, True), (E.FAILED, True)]
    assert email.status == "failed"
    assert lines[0].detail.code


def test_the_only_recipients_address_refused_is_a_hard_bounce() -> None:
    error = errors.Rejected("550 5.1.1 no such user", code="5.1.1")
    email = tracked("queued")
    lines, _ = judge(email, Attempt(claim=claim(), tried=pending(1), error=error), NOW)
    assert (lines[0].type, lines[0].detail.bounce, email.status) == (E.BOUNCED, "hard", "bounced")
    two = tracked("queued", "queued")
    lines, _ = judge(two, Attempt(claim=claim(), tried=pending(1, 2), error=error), NOW)
    assert {line.type for line in lines} == {E.FAILED}


def test_late_suppression_takes_a_recipient_out() -> None:
    email = tracked("queued", "queued")
    attempt = Attempt(claim=claim(), tried=pending(1), withheld=[(pending(2)[0], "complaint")], receipt=Receipt("r1"))
    lines, again = judge(email, attempt, NOW)
    assert [p.status for p in email.people] == ["sent", "suppressed"]
    assert (lines[0].type, lines[0].detail.code, again) == (E.FAILED, "complaint", None)


def test_keys_of_two_attempts_differ() -> None:
    error = errors.ProviderFailed("down")
    keys = [
        line.key
        for number in (1, 2)
        for line in judge(tracked("queued"), Attempt(claim=claim(number), tried=pending(1), error=error), NOW)[0]
    ]
    assert len(set(keys)) == 2


def test_blind_copies_alone_go_out_one_by_one() -> None:
    blind = pending(1, 2, kind="bcc")
    assert portion(blind) == (blind[:1], blind[1:])
    mixed = [*pending(1, kind="cc"), *pending(2, kind="bcc")]
    assert portion(mixed) == (mixed, [])
    assert portion([]) == ([], [])
    email = tracked("queued", "queued")
    _, again = judge(email, Attempt(claim=claim(3), tried=blind[:1], left=blind[1:], receipt=Receipt("r")), NOW)
    assert again == (NOW, 0)


def loaded(*people: Pending) -> Loaded:
    content = Content(
        sender=Address("shop@example.com"), reply_to=(), subject="Hi", html=None, text="x", headers={}, attachments=()
    )
    return Loaded(
        id="eml_1", message_id="m@x", tags=[], metadata={}, stream="marketing", test=False, content=content,
        pending=list(people),
    )  # fmt: skip


def test_somebody_visible_is_always_the_addressee() -> None:
    message = item(claim(), loaded(*pending(1, kind="cc"), *pending(2, kind="bcc")), Standing({})).message
    assert message is not None
    assert ([a.email for a in message.to], message.cc, len(message.bcc)) == (["p1@example.com"], (), 1)
    alone = item(claim(), loaded(*pending(1, 2, kind="bcc")), Standing({}))
    assert alone.message is not None
    assert ([a.email for a in alone.message.to], alone.message.bcc) == (["p1@example.com"], ())
    assert alone.left == pending(2, kind="bcc")


def test_an_unsubscription_stops_marketing_and_an_all_stream_suppression_everything() -> None:
    standing = Standing({("p1@example.com", False): {"marketing": "unsubscribe"}})
    assert item(claim(), loaded(*pending(1)), standing).message is None
    assert standing.reason("p1@example.com", test=False, stream="transactional") is None
    assert standing.reason("p1@example.com", test=True, stream="marketing") is None
    everything = Standing({("p1@example.com", False): {"all": "complaint"}})
    assert everything.reason("p1@example.com", test=False, stream="transactional") == "complaint"


def test_retries_grow_jitter_and_end() -> None:
    waits = [
        [(retry.next_attempt(NOW, attempt) - NOW).total_seconds() for _ in range(50)]  # type: ignore[operator] # below the maximum it is never None
        for attempt in range(1, retry.MAX_ATTEMPTS)
    ]
    for base, found in zip(retry.DELAYS, waits, strict=True):
        assert all(base * 0.8 <= wait <= base * 1.2 for wait in found)
        assert len(set(found)) > 1
    assert retry.next_attempt(NOW, retry.MAX_ATTEMPTS) is None
    assert 3600 < sum(retry.DELAYS) < 3 * 3600


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (errors.RateLimited("x", retry_after=60), 60, 60),
        (errors.RateLimited("x", retry_after=10 * 365 * 86400), retry.MAX_WAIT, retry.MAX_WAIT),
        (errors.RateLimited("x", retry_after=0), 4, 6),
        (errors.QuotaExceeded("x"), 3600, 3600),
        (errors.QuotaExceeded("x", retry_after=7200), 7200, 7200),
    ],
)
def test_what_the_provider_asks_for_is_waited_for_within_reason(
    error: errors.PluginError, least: float, most: float
) -> None:
    when = retry.next_attempt(NOW, 1, error)
    assert when is not None
    assert least <= (when - NOW).total_seconds() <= most


@given(st.lists(st.integers(1, 400), max_size=30))
def test_groups_keep_the_order_and_the_limit(sizes: list[int]) -> None:
    claims = [claim(size=size) for size in sizes]
    found = list(groups(claims, 500))
    assert list(itertools.chain(*found)) == claims
    assert all(len(group) == 1 or sum(c.size for c in group) <= 500 for group in found)


async def test_the_budget_is_kept_in_order_and_a_giant_goes_alone() -> None:
    budget = ByteBudget(100)
    await budget.take(60)
    giant = asyncio.create_task(budget.take(1000))
    small = asyncio.create_task(budget.take(10))
    gone = asyncio.create_task(budget.take(10))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert not giant.done()
    assert not small.done(), "who came later waits behind the giant, or it would wait for ever"
    budget.give(60)
    await giant
    assert not small.done()
    budget.give(1000)
    await small
    await budget.take(90)
