"""The kit's suites, and what is Slack's own."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
import penguin_hub_slack as slack
import pytest
from jsonschema import Draft202012Validator
from penguin_hub_sdk import Event, InboundRequest, errors
from penguin_hub_sdk.config import decode
from penguin_hub_sdk.testing import (
    EVENT,
    NOW,
    DestinationSuite,
    PluginSuite,
    Recorder,
    Reply,
    WebhookSuite,
    context,
)
from penguin_hub_slack import text
from slack_sdk.signature import Clock, SignatureVerifier

T = TypeVar("T")

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
POSTED = {"ok": True, "channel": "C0123456789", "ts": "1795169730.000100", "message": {"text": "x"}}
AUTHED = {"ok": True, "url": "https://t.slack.com/", "team": "T", "user": "u", "team_id": "T0", "user_id": "U0"}
CHANNEL = {"ok": True, "channel": {"id": "C0123456789", "is_archived": False}}

# Newer than the description at hand, which is of 2021; sent by Slack's own clients.
NEWER = {"client_msg_id"}


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def refusal(word: str, **more: str) -> Reply:
    return Reply(json={"ok": False, "error": word, **more})


class Slack:
    package = "penguin_hub_slack"
    config = {"bot_token": "xoxb-0-test-token", "channel": "C0123456789", "signing_secret": SECRET}


class TestPlugin(Slack, PluginSuite): ...


class TestDestination(Slack, DestinationSuite):
    check_replies = (Reply(json=AUTHED), Reply(json=CHANNEL))
    refused = refusal("invalid_auth")
    delivered = Reply(json=POSTED)


class TestWebhook(Slack, WebhookSuite): ...


def connector(*replies: Reply | Exception, **settings: Any) -> tuple[slack.Slack, Recorder]:
    recorder = Recorder(*replies)
    return slack.Slack(context(slack.hub_plugin(), {**Slack.config, **settings}, recorder)), recorder


def test_requests_fit_the_vendor_s_description(description: dict[str, Any]) -> None:
    plugin, recorder = connector(Reply(json=AUTHED), Reply(json=CHANNEL), Reply(json=POSTED))
    run(plugin.check())
    run(plugin.deliver(EVENT))
    authed, looked, posted = recorder.requests
    paths = description["paths"]
    assert {request.path.removeprefix("/api") for request in recorder.requests} <= set(paths)
    assert (authed.method, looked.method, posted.method) == ("GET", "GET", "POST")
    known = {parameter["name"] for parameter in paths["/conversations.info"]["get"]["parameters"]}
    assert {name for name, _ in looked.query} <= known
    # The description has forms, in which a structure is JSON text; Slack takes a JSON body just as well.
    body = {
        name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in posted.json().items()
    }
    (content,) = paths["/chat.postMessage"]["post"]["requestBody"]["content"].values()
    assert set(body) - NEWER <= set(content["schema"]["properties"])
    Draft202012Validator({**content["schema"], "components": description["components"]}).validate(body)


def test_an_event_becomes_a_message() -> None:
    plugin, recorder = connector(Reply(json=POSTED))
    run(plugin.deliver(EVENT))
    request = recorder.request
    body = request.json()
    assert request.url == "https://slack.com/api/chat.postMessage"
    assert request.headers["authorization"] == "Bearer xoxb-0-test-token"
    assert body["channel"] == "C0123456789"
    assert body["text"] == ":warning: Email bounced: recipient@example.org"
    fields = [field["text"] for field in body["blocks"][0]["fields"]]
    assert fields[:2] == ["*Recipient*\nrecipient@example.org", "*Subject*\nHello &lt;there&gt; &amp; *more*"]
    assert EVENT.id in body["blocks"][1]["elements"][0]["text"]


def test_a_repeated_event_has_the_same_client_msg_id_and_another_has_another() -> None:
    ids = []
    for event in (EVENT, EVENT, msgspec.structs.replace(EVENT, id="evt_other")):
        plugin, recorder = connector(Reply(json=POSTED))
        run(plugin.deliver(event))
        ids.append(recorder.request.json()["client_msg_id"])
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("word", sorted(slack.ERRORS))
def test_ok_false_is_an_error_although_the_status_is_200(word: str) -> None:
    kind, field = slack.ERRORS[word]
    plugin, _ = connector(refusal(word))
    with pytest.raises(errors.PluginError) as caught:
        run(plugin.deliver(EVENT))
    assert (type(caught.value), caught.value.code, caught.value.field) == (kind, word, field)


@pytest.mark.parametrize("word", ["msg_too_long", "no_text", "invalid_blocks", "something_new"])
def test_any_other_word_refuses_this_message_alone(word: str) -> None:
    plugin, _ = connector(refusal(word))
    with pytest.raises(errors.Rejected) as caught:
        run(plugin.deliver(EVENT))
    assert caught.value.code == word


def test_a_missing_scope_is_named() -> None:
    plugin, _ = connector(refusal("missing_scope", needed="chat:write", provided="none"))
    with pytest.raises(errors.NotAllowed, match="chat:write"):
        run(plugin.deliver(EVENT))


@pytest.mark.parametrize(
    "reply", [refusal("channel_not_found"), Reply(json={"ok": True, "channel": {"is_archived": True}})]
)
def test_check_looks_at_the_channel(reply: Reply) -> None:
    plugin, _ = connector(Reply(json=AUTHED), reply)
    with pytest.raises(errors.ConfigInvalid) as caught:
        run(plugin.check())
    assert caught.value.field == "channel"


def test_check_passes_without_the_scope_to_look_and_for_a_name() -> None:
    plugin, _ = connector(Reply(json=AUTHED), refusal("missing_scope", needed="channels:read"))
    run(plugin.check())
    plugin, recorder = connector(Reply(json=AUTHED), channel="#general")
    run(plugin.check())
    assert len(recorder.requests) == 1


def test_text_of_strangers_cannot_mention_or_link() -> None:
    data = {"recipient": "<!channel>", "subject": "<https://evil.example|click> & <@U1>", "reason": ["<!here>", "a\nb"]}
    message = text.message(Event(id="evt_1<!here>", type="x.<!channel>", timestamp="2026", data=data))
    shown = msgspec.json.encode(message).decode()
    assert "<" not in shown
    assert "&lt;!channel&gt;" in shown


@pytest.mark.parametrize("character", ["x", "&", "<", "🐧"])
def test_long_text_is_cut_within_slack_s_limits(character: str) -> None:
    data = dict.fromkeys([*text.FIELDS, "more"], character * 10_000)
    message = text.message(Event(id=character * 500, type=character * 500, timestamp="t", data=data))
    section, note = message["blocks"]
    assert len(section["fields"]) == text.MOST_FIELDS
    assert all(len(field["text"]) <= text.LONGEST_FIELD for field in section["fields"])
    assert len(section["text"]["text"]) <= text.LONGEST_TEXT
    assert len(note["elements"][0]["text"]) <= text.LONGEST_FIELD
    assert len(message["text"]) <= text.LONGEST_TEXT
    for field in section["fields"]:
        assert not field["text"].rstrip("…").endswith(("&am", "&a", "&l", "&g", "&"))


class Frozen(Clock):
    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        return self._now


@pytest.mark.parametrize("seconds", [-400, -299, 0, 299, 400])
@pytest.mark.parametrize("change", ["none", "body", "signature", "timestamp", "secret"])
def test_slack_s_own_package_judges_the_same(seconds: int, change: str) -> None:
    """slack_sdk 3.47 says yes exactly where we do."""
    webhook = slack.hub_plugin().webhook
    assert webhook is not None
    settings = decode(slack.Settings, Slack.config)
    plain = InboundRequest(method="POST", url="https://h/", headers=(), body=b'{"type":"x"}', received_at=NOW)
    signed = webhook.verify.signed(plain, settings)
    headers, body, secret = dict(signed.headers), signed.body, SECRET
    if change == "body":
        body += b" "
    elif change == "signature":
        headers["x-slack-signature"] = headers["x-slack-signature"][:-1] + "x"
    elif change == "timestamp":
        headers["x-slack-request-timestamp"] = str(int(headers["x-slack-request-timestamp"]) + 1)
    elif change == "secret":
        secret = SECRET[::-1]
    moment = NOW.timestamp() + seconds
    theirs = SignatureVerifier(secret, Frozen(moment)).is_valid_request(body, headers)
    arrived = msgspec.structs.replace(
        signed, headers=tuple(headers.items()), body=body, received_at=NOW.fromtimestamp(moment, NOW.tzinfo)
    )
    try:
        webhook.verify.verify(arrived, [decode(slack.Settings, {**Slack.config, "signing_secret": secret})])
    except errors.SignatureInvalid:
        ours = False
    else:
        ours = True
    assert ours == theirs == (change == "none" and abs(seconds) < 300)


def test_the_challenge_is_answered_and_nothing_else_is() -> None:
    webhook = slack.hub_plugin().webhook
    assert webhook is not None
    assert webhook.answer is not None
    challenge = {"type": "url_verification", "challenge": "3eZbrw1a<b>", "token": "t"}
    for body, expected in (
        (challenge, b"3eZbrw1a<b>"),
        ({**challenge, "type": "event_callback"}, None),
        ({"type": "url_verification"}, None),
    ):
        request = InboundRequest(
            method="POST", url="https://h/", headers=(), body=msgspec.json.encode(body), received_at=NOW
        )
        answer = webhook.answer(request)
        assert (answer and answer.body) == expected
        assert answer is None or answer.content_type.startswith("text/plain")


def test_a_command_is_kept_as_unknown() -> None:
    headers = (("content-type", "application/x-www-form-urlencoded"),)
    request = InboundRequest(method="POST", url="https://h/", headers=headers, body=b"command=%2Fx", received_at=NOW)
    (event,) = slack.normalise(request)
    assert (event.type, event.raw_type) == ("unknown", "form")
