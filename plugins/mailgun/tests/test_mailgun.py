"""The kit's suites, and what is Mailgun's own."""

import asyncio
import base64
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import penguin_hub_mailgun as mailgun
import pytest
from jsonschema import Draft202012Validator
from penguin_hub_sdk import Attachment, InboundRequest, Message, errors
from penguin_hub_sdk.config import decode
from penguin_hub_sdk.testing import (
    FULL,
    MINIMAL,
    NOW,
    EmailProviderSuite,
    PluginSuite,
    Recorder,
    Reply,
    WebhookSuite,
    context,
)

T = TypeVar("T")

DOMAIN = {"domain": {"id": "123456789012345678901234", "name": "mg.example.com", "state": "active", "type": "custom"}}
FORM = "POST-v3-domain_name-messages-multipart-form-data-RequestBody"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


class Mailgun:
    package = "penguin_hub_mailgun"
    config = {"api_key": "key-0123456789", "domain": "mg.example.com", "webhook_signing_key": "signing-key-1"}


class TestPlugin(Mailgun, PluginSuite): ...


class TestEmail(Mailgun, EmailProviderSuite):
    check_replies = (Reply(json=DOMAIN),)
    refused = Reply(401, body=b"Forbidden")
    sent = Reply(json={"id": "<20261120.1@mg.example.com>", "message": "Queued. Thank you."})
    receipt = "20261120.1@mg.example.com"


class TestWebhook(Mailgun, WebhookSuite): ...


def connector(*replies: Reply | Exception, **settings: Any) -> tuple[mailgun.Mailgun, Recorder]:
    recorder = Recorder(*replies)
    return mailgun.Mailgun(context(mailgun.hub_plugin(), {**Mailgun.config, **settings}, recorder)), recorder


def parameters(path: str, template: str) -> bool:
    """Whether a path is an instance of a templated one."""
    ours, theirs = path.split("/"), template.split("/")
    return len(ours) == len(theirs) and all(b.startswith("{") or a == b for a, b in zip(ours, theirs, strict=True))


def described(description: dict[str, Any], method: str, path: str) -> bool:
    return any(method.lower() in item and parameters(path, name) for name, item in description["paths"].items())


@pytest.mark.parametrize("message", [MINIMAL, FULL], ids=["minimal", "full"])
def test_requests_fit_the_vendor_s_description(description: dict[str, Any], message: Message) -> None:
    plugin, recorder = connector(TestEmail.sent)
    run(plugin.send(message))
    request = recorder.request
    assert described(description, request.method, request.path)
    schema = description["components"]["schemas"][FORM]
    many = {name for name, shape in schema["properties"].items() if shape.get("type") == "array"}
    fields: dict[str, Any] = {}
    for name, value in request.form():
        assert name in schema["properties"] or name.startswith(("h:", "v:")), f"{name} is no field of Mailgun's"
        if name in many:
            fields.setdefault(name, []).append(value)
        else:
            assert name not in fields, f"{name} comes twice"
            fields[name] = value
    for name, filename, _, _ in request.files():
        assert name in many
        fields.setdefault(name, []).append(filename)
    Draft202012Validator({**schema, "components": description["components"]}).validate(fields)


def test_the_check_is_in_the_vendor_s_description(description: dict[str, Any]) -> None:
    plugin, recorder = connector(Reply(json=DOMAIN))
    run(plugin.check())
    assert described(description, recorder.request.method, recorder.request.path)


@pytest.mark.parametrize(("region", "host"), [("us", "api.mailgun.net"), ("eu", "api.eu.mailgun.net")])
def test_a_region_has_its_own_host(region: str, host: str) -> None:
    plugin, recorder = connector(Reply(json=DOMAIN), TestEmail.sent, region=region)
    run(plugin.check())
    run(plugin.send(MINIMAL))
    assert [request.url for request in recorder.requests] == [
        f"https://{host}/v4/domains/mg.example.com",
        f"https://{host}/v3/mg.example.com/messages",
    ]
    expected = "Basic " + base64.b64encode(b"api:key-0123456789").decode()
    assert {request.headers["authorization"] for request in recorder.requests} == {expected}


@pytest.mark.parametrize("state", ["unverified", "disabled"])
def test_a_domain_that_may_not_send_is_no_connection(state: str) -> None:
    plugin, _ = connector(Reply(json={"domain": {"name": "mg.example.com", "state": state}}))
    with pytest.raises(errors.ConfigInvalid, match=state) as caught:
        run(plugin.check())
    assert caught.value.field == "domain"


def test_a_domain_of_the_other_region_names_the_setting() -> None:
    for call in (lambda plugin: plugin.check(), lambda plugin: plugin.send(MINIMAL)):
        plugin, _ = connector(Reply(404, json={"message": "Domain not found: mg.example.com"}))
        with pytest.raises(errors.ConfigInvalid) as caught:
            run(call(plugin))
        assert (caught.value.field, caught.value.status) == ("domain", 404)


def test_mailgun_s_own_sentence_is_told() -> None:
    plugin, _ = connector(Reply(400, json={"message": "to parameter is not a valid address."}))
    with pytest.raises(errors.Rejected) as caught:
        run(plugin.send(MINIMAL))
    assert caught.value.detail == "to parameter is not a valid address."


def test_a_message_says_all_it_has() -> None:
    plugin, recorder = connector(TestEmail.sent)
    run(plugin.send(msgspec.structs.replace(FULL, metadata={"customer": "42", "hub-email-id": "forged"})))
    form = recorder.request.form()
    assert ("from", '"Käthe, of Sales" <sender@example.com>') in form
    assert [value for name, value in form if name == "to"] == ["First Reader <first@example.org>", "second@example.org"]
    assert [value for name, value in form if name.startswith("v:")] == ["42", FULL.id]
    assert ("h:Message-Id", f"<{FULL.message_id}>") in form
    assert ("h:Reply-To", "Answers <answers@example.com>") in form
    assert ("o:tag", "spring") in form
    assert not [name for name, _ in form if name == "o:testmode"]
    # Mailgun makes an inline part's Content-ID of its file name.
    assert recorder.request.files() == [
        ("attachment", "offer.pdf", "application/pdf", FULL.attachments[0].content),
        ("inline", "logo", "image/png", FULL.attachments[1].content),
    ]


def test_without_attachments_the_form_is_plain() -> None:
    plugin, recorder = connector(TestEmail.sent, TestEmail.sent)
    run(plugin.send(MINIMAL))
    run(plugin.send(msgspec.structs.replace(MINIMAL, attachments=(Attachment("a.txt", "text/plain", b"a"),))))
    kinds = [request.headers["content-type"].partition(";")[0] for request in recorder.requests]
    assert kinds == ["application/x-www-form-urlencoded", "multipart/form-data"]


def test_field_names_and_file_names_do_not_break_out_of_the_form() -> None:
    odd = msgspec.structs.replace(
        MINIMAL,
        metadata={'a"\r\nX-Evil: 1\r\n\r\n': "v"},
        attachments=(Attachment('b"; name="from"\r\n\r\nevil', "text/plain", b"a"),),
    )
    plugin, recorder = connector(TestEmail.sent)
    run(plugin.send(odd))
    assert b"\r\nX-Evil" not in recorder.request.body
    assert [value for name, value in recorder.request.form() if name == "from"] == ["sender@example.com"]


@pytest.mark.parametrize(
    "domain", ["", "example", "a/../b.com", "mg.example.com/../x", "exa mple.com", "mg.example.com?x"]
)
def test_a_domain_is_a_domain(domain: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(mailgun.Settings, {"api_key": "k", "domain": domain})


def inbound(data: dict[str, Any]) -> InboundRequest:
    body = msgspec.json.encode({"event-data": data})
    return InboundRequest(method="POST", url="https://hub.example.com/", headers=(), body=body, received_at=NOW)


def test_a_captured_signature_has_the_same_key_whatever_it_is_put_on() -> None:
    """The triple proves any event, so a second event with it must look like a repetition of the first."""
    webhook = mailgun.hub_plugin().webhook
    assert webhook is not None
    assert webhook.key is not None
    settings = decode(mailgun.Settings, Mailgun.config)
    genuine = webhook.verify.signed(inbound({"id": "1", "event": "delivered", "timestamp": 1.5}), settings)
    document = msgspec.json.decode(genuine.body)
    document["event-data"]["event"] = "complained"
    forged = msgspec.structs.replace(genuine, body=msgspec.json.encode(document))
    webhook.verify.verify(forged, [settings])
    assert webhook.key(forged) == webhook.key(genuine) == document["signature"]["token"]


def test_a_captured_signature_grows_old() -> None:
    webhook = mailgun.hub_plugin().webhook
    assert webhook is not None
    settings = decode(mailgun.Settings, Mailgun.config)
    genuine = webhook.verify.signed(inbound({"event": "delivered"}), settings)
    late = msgspec.structs.replace(genuine, received_at=NOW + timedelta(days=1))
    with pytest.raises(errors.SignatureInvalid):
        webhook.verify.verify(late, [settings])


def test_a_trimmed_event_is_understood() -> None:
    (event,) = mailgun.normalise(inbound({"event": "delivered", "recipient": "a@example.com"}))
    assert (event.type, event.at, event.recipient) == ("email.delivered", NOW, "a@example.com")
