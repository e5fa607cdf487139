"""The kit's suite, and the stories the addresses tell."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import penguin_hub_sandbox as sandbox
import pytest
from penguin_hub_sdk import Address, E, Message, Receipt, errors
from penguin_hub_sdk.testing import FULL, MINIMAL, PluginSuite, Recorder, context

ROOT = Path(__file__).parents[1]


class TestPlugin(PluginSuite):
    package = "penguin_hub_sandbox"
    config: dict[str, object] = {}


def send(*emails: str, message: Message = MINIMAL) -> Receipt:
    recorder = Recorder()
    connector = sandbox.Sandbox(context(sandbox.hub_plugin(), {}, recorder))
    receipt = asyncio.run(connector.send(msgspec.structs.replace(message, to=tuple(map(Address, emails)))))
    assert recorder.requests == []
    return receipt


def words(receipt: Receipt) -> list[str]:
    return [event.type.removeprefix("email.") for event in receipt.events]


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        ("anybody@example.com", ["delivered"]),
        ("delivered@example.com", ["delivered"]),
        ("Delivered+tag@example.com", ["delivered"]),
        ("opened@example.com", ["delivered", "opened"]),
        ("clicked@example.com", ["delivered", "opened", "clicked"]),
        ("replied@example.com", ["delivered", "replied"]),
        ("complained@example.com", ["delivered", "complained"]),
        ("unsubscribed@example.com", ["delivered", "unsubscribed"]),
        ("deferred@example.com", ["deferred", "delivered"]),
        ("bounced@example.com", ["bounced"]),
        ("BOUNCE+x@example.com", ["bounced"]),
        ("hard-bounce@example.com", ["bounced"]),
        ("soft-bounce@example.com", ["bounced"]),
        ("blocked@example.com", ["bounced"]),
    ],
)
def test_the_address_decides(email: str, expected: list[str]) -> None:
    assert words(send(email)) == expected


@pytest.mark.parametrize("word", sorted(sandbox.ALIASES))
def test_a_verb_says_the_same_as_its_participle(word: str) -> None:
    assert sandbox.word(Address(f"{word}@example.com")) in {*sandbox.STORIES, *sandbox.REFUSALS, *sandbox.FAILURES}


@pytest.mark.parametrize(("word", "kind"), [("bounced", "hard"), ("soft-bounce", "soft"), ("blocked", "block")])
def test_only_a_hard_bounce_is_hard(word: str, kind: str) -> None:
    (event,) = send(f"{word}@example.org").events
    assert event.detail.bounce == kind
    assert event.detail.code in (event.detail.reason or "")


def test_events_come_a_moment_later_in_order_and_name_the_message() -> None:
    before = datetime.now(UTC)
    receipt = send("clicked@example.com")
    moments = [event.at for event in receipt.events]
    assert moments == sorted(moments)
    assert before + timedelta(seconds=1) <= moments[0] <= moments[-1] <= datetime.now(UTC) + timedelta(seconds=5)
    for event in receipt.events:
        assert (event.message, event.email, event.recipient) == (receipt.id, MINIMAL.id, "clicked@example.com")


def test_a_repeated_attempt_tells_the_same_events() -> None:
    first, second = send("clicked@example.com"), send("clicked@example.com")
    assert first.id == second.id
    assert [event.key for event in first.events] == [event.key for event in second.events]
    assert len({event.key for event in first.events}) == len(first.events)


def test_every_recipient_has_a_story() -> None:
    receipt = send("bounced@example.com", "opened@example.com", message=FULL)
    told = {event.recipient for event in receipt.events}
    assert told == {"bounced@example.com", "opened@example.com", *(one.email for one in FULL.cc + FULL.bcc)}


def test_the_first_link_is_clicked() -> None:
    clicked = [event for event in send("clicked@example.com", message=FULL).events if event.type is E.CLICKED]
    assert [event.detail.url for event in clicked] == ["https://example.com/?a=1&b=2"]
    assert send("clicked@example.com").events[-1].detail.url == sandbox.LINK


def test_a_refused_recipient_does_not_stop_the_others() -> None:
    receipt = send("refused@example.com", "suppressed@example.com", "ann@example.com")
    assert [(one.recipient, one.code) for one in receipt.refused] == [
        ("refused@example.com", "5.1.1"),
        ("suppressed@example.com", "5.7.1"),
    ]
    assert [event.recipient for event in receipt.events] == ["ann@example.com"]


@pytest.mark.parametrize(
    ("email", "kind"),
    [
        ("refused@example.com", errors.Rejected),
        ("rejected@example.com", errors.Rejected),
        ("throttled@example.com", errors.RateLimited),
        ("unavailable@example.com", errors.ProviderFailed),
    ],
)
def test_a_message_can_fail(email: str, kind: type[errors.PluginError]) -> None:
    with pytest.raises(errors.PluginError) as caught:
        send(email)
    assert type(caught.value) is kind


def test_the_events_of_the_stories_are_in_the_manifest() -> None:
    told = {str(step.type) for steps in sandbox.STORIES.values() for step in steps}
    assert told == set(sandbox.hub_plugin().manifest.events)


def test_the_readme_names_every_word() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for word in {*sandbox.STORIES, *sandbox.REFUSALS, *sandbox.FAILURES}:
        assert f"`{word}`" in readme


def test_the_check_passes_and_the_hub_finds_it_by_its_manifest() -> None:
    plugin = sandbox.hub_plugin()
    asyncio.run(sandbox.Sandbox(context(plugin, {})).check())
    assert plugin.manifest.sandbox
    assert plugin.manifest.hosts == ()
