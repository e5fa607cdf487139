"""The kit's suites, and what is Postmark's own."""

import asyncio
import base64
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
import penguin_hub_postmark as postmark
import pytest
from jsonschema import Draft202012Validator
from penguin_hub_sdk import Attachment, Message, Receipt, errors
from penguin_hub_sdk.config import decode
from penguin_hub_sdk.testing import (
    FULL,
    MINIMAL,
    EmailProviderSuite,
    PluginSuite,
    Recorder,
    Reply,
    WebhookSuite,
    context,
)

T = TypeVar("T")

ID = "883953f4-6105-42a2-a16a-77a8eac79483"
API = "https://api.postmarkapp.com"

# Newer than the description at hand: https://postmarkapp.com/developer/api/email-api
NEWER = {
    "MessageStream": {"type": "string"},
    "Metadata": {"type": "object", "additionalProperties": {"type": "string"}},
}


def taken(number: int = 0) -> dict[str, Any]:
    return {
        "To": "a@example.org",
        "SubmittedAt": "2026-11-20T12:00:00Z",
        "MessageID": ID,
        "ErrorCode": 0,
        "Message": "OK",
    }


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


class Postmark:
    package = "penguin_hub_postmark"
    config = {"server_token": "server-token-1", "webhook_username": "hub", "webhook_password": "s3cret-word"}


class TestPlugin(Postmark, PluginSuite): ...


class TestEmail(Postmark, EmailProviderSuite):
    check_replies = (Reply(json={"ID": 23, "Name": "Production"}),)
    refused = Reply(401, json={"ErrorCode": 10, "Message": "No Account or Server API tokens were supplied."})
    sent = Reply(json=taken())
    receipt = ID

    def batch_sent(self, count: int) -> Reply:
        return Reply(json=[taken(number) for number in range(count)])


class TestWebhook(Postmark, WebhookSuite): ...


def connector(*replies: Reply | Exception) -> tuple[postmark.Postmark, Recorder]:
    recorder = Recorder(*replies)
    return postmark.Postmark(context(postmark.hub_plugin(), Postmark.config, recorder)), recorder


def many(count: int, **changes: Any) -> list[Message]:
    return [msgspec.structs.replace(MINIMAL, id=f"eml_{number}", **changes) for number in range(count)]


def test_check_asks_for_the_server() -> None:
    plugin, recorder = connector(Reply(json={"ID": 23, "Name": "Production"}))
    run(plugin.check())
    assert (recorder.request.method, recorder.request.url) == ("GET", f"{API}/server")
    assert recorder.request.headers["x-postmark-server-token"] == "server-token-1"


@pytest.mark.parametrize("message", [MINIMAL, FULL], ids=["minimal", "full"])
def test_requests_fit_the_vendor_s_description(description: dict[str, Any], message: Message) -> None:
    components = description["components"]
    request = components["schemas"]["SendEmailRequest"]
    # Closed, so that a misspelled field is found; Postmark itself ignores it.
    closed = {**request, "additionalProperties": False, "properties": {**request["properties"], **NEWER}}
    schemas = {**components["schemas"], "SendEmailRequest": closed}
    single, recorder = connector(Reply(json=taken()))
    run(single.send(message))
    assert recorder.request.path in description["paths"]
    schema = {"$ref": "#/components/schemas/SendEmailRequest", "components": {"schemas": schemas}}
    Draft202012Validator(schema).validate(recorder.request.json())

    batch, recorder = connector(Reply(json=[taken(), taken()]))
    run(batch.send_batch([message, message]))
    assert recorder.request.path in description["paths"]
    schema = {"$ref": "#/components/schemas/SendEmailBatchRequest", "components": {"schemas": schemas}}
    Draft202012Validator(schema).validate(recorder.request.json())


def test_a_message_says_all_it_has() -> None:
    plugin, recorder = connector(Reply(json=taken()))
    run(plugin.send(FULL))
    body = recorder.request.json()
    assert body["From"] == '"Käthe, of Sales" <sender@example.com>'
    assert body["To"] == "First Reader <first@example.org>, second@example.org"
    assert (body["MessageStream"], body["Tag"]) == ("outbound", "spring")
    assert body["Metadata"] == {"hub-email-id": FULL.id, "customer": "42"}
    assert {"Name": "X-PM-KeepID", "Value": "true"} in body["Headers"]
    pdf, logo = body["Attachments"]
    assert base64.b64decode(pdf["Content"]) == FULL.attachments[0].content
    assert "ContentID" not in pdf
    assert logo["ContentID"] == "cid:logo"


def test_metadata_beyond_postmark_s_limits_stays_at_home() -> None:
    wide = {"n" * 21: "x", "long": "v" * 81, "hub-email-id": "forged", **{f"key{number}": "v" for number in range(20)}}
    plugin, recorder = connector(Reply(json=taken()))
    run(plugin.send(msgspec.structs.replace(MINIMAL, metadata=wide)))
    metadata = recorder.request.json()["Metadata"]
    assert metadata["hub-email-id"] == MINIMAL.id
    assert len(metadata) == postmark.METADATA_FIELDS
    assert all(len(name) <= 20 and len(value) <= 80 for name, value in metadata.items())


@pytest.mark.parametrize(
    ("status", "code", "kind", "field"),
    [
        (401, 10, errors.AuthExpired, None),
        (422, 300, errors.Rejected, None),
        (422, 400, errors.Rejected, None),
        (422, 405, errors.QuotaExceeded, None),
        (422, 406, errors.Rejected, None),
        (422, 412, errors.NotAllowed, None),
        (422, 413, errors.NotAllowed, None),
        (422, 1235, errors.ConfigInvalid, "message_stream"),
        (503, 100, errors.ProviderFailed, None),
        (200, 406, errors.Rejected, None),
    ],
)
def test_codes_become_errors(status: int, code: int, kind: type[errors.PluginError], field: str | None) -> None:
    plugin, _ = connector(Reply(status, json={"ErrorCode": code, "Message": "Postmark's sentence."}))
    with pytest.raises(errors.PluginError) as caught:
        run(plugin.send(MINIMAL))
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.detail, caught.value.field) == (str(code), "Postmark's sentence.", field)


def test_inactive_recipients_are_refused_one_by_one() -> None:
    text = (
        "Message OK, but will not deliver to these inactive addresses: Second@example.org, other@example.org. "
        "Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression."
    )
    plugin, _ = connector(Reply(json={**taken(), "Message": text}))
    receipt = run(plugin.send(FULL))
    assert [(one.recipient, one.code, one.permanent) for one in receipt.refused] == [
        ("second@example.org", "406", True)
    ]


def test_a_batch_of_501_is_split_and_keeps_its_order() -> None:
    first = [{**taken(), "MessageID": f"m-{number}"} for number in range(500)]
    plugin, recorder = connector(Reply(json=first), Reply(json=[{**taken(), "MessageID": "m-500"}]))
    outcomes = run(plugin.send_batch(many(501)))
    assert [len(request.json()) for request in recorder.requests] == [500, 1]
    assert [one.id for one in outcomes if isinstance(one, Receipt)] == [f"m-{number}" for number in range(501)]


def test_a_batch_of_more_than_50_megabytes_is_split() -> None:
    heavy = (Attachment("a.bin", "application/octet-stream", b"x" * 9_000_000),)
    plugin, recorder = connector(*[Reply(json=[taken()] * count) for count in (4, 1)])
    outcomes = run(plugin.send_batch(many(5, attachments=heavy)))
    assert len(outcomes) == 5
    assert [len(request.json()) for request in recorder.requests] == [4, 1]
    assert all(len(request.body) <= postmark.BATCH_BYTES for request in recorder.requests)


def test_a_batch_has_an_outcome_for_each_message() -> None:
    answers = [taken(), {"ErrorCode": 406, "Message": "Inactive."}, {"ErrorCode": 405, "Message": "No credits."}]
    plugin, _ = connector(Reply(json=answers))
    outcomes = run(plugin.send_batch(many(3)))
    assert [type(one) for one in outcomes] == [Receipt, errors.Rejected, errors.QuotaExceeded]


def test_when_one_call_of_a_split_batch_fails_the_others_count() -> None:
    plugin, _ = connector(Reply(json=[taken()] * 500), Reply(500))
    outcomes = run(plugin.send_batch(many(502)))
    assert [type(one) for one in outcomes[499:]] == [Receipt, errors.ProviderFailed, errors.ProviderFailed]


def test_a_batch_that_fails_as_a_whole_raises() -> None:
    plugin, _ = connector(Reply(401, json={"ErrorCode": 10, "Message": "Bad token."}))
    with pytest.raises(errors.AuthExpired):
        run(plugin.send_batch(many(2)))


def test_answers_that_do_not_match_the_batch_are_not_believed() -> None:
    plugin, _ = connector(Reply(json=[taken()]))
    with pytest.raises(errors.BadAnswer):
        run(plugin.send_batch(many(2)))


@pytest.mark.parametrize("half", ["webhook_username", "webhook_password"])
def test_half_a_webhook_credential_is_refused(half: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(postmark.Settings, {"server_token": "t", half: "x"})
