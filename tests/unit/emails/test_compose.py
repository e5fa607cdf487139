"""What may be sent, and what is refused before it is stored."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from penguin_hub.emails.compose import MAX_RECIPIENTS, draft, message_id
from penguin_hub.emails.content import Draft
from penguin_hub.emails.schemas import NewEmail
from penguin_hub.http.bodies import decode
from penguin_hub.platform.errors import Invalid

BODY = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Hello", "text": "Hi"}


def made(**fields: Any) -> Draft:
    return draft(decode(msgspec.json.encode({**BODY, **fields}), NewEmail))


def refused(**fields: Any) -> tuple[str, str]:
    """Pointer and code of the first complaint."""
    with pytest.raises(Invalid) as refusal:
        made(**fields)
    return refusal.value.errors[0].pointer, refusal.value.errors[0].code


def people(found: Draft) -> list[tuple[str, str, str | None]]:
    return [(person.kind, person.email, person.name) for person in found.recipients]


@pytest.mark.parametrize(
    ("spelled", "email", "name"),
    [
        ("ada@example.com", "ada@example.com", None),
        (" ada@example.com ", "ada@example.com", None),
        ("Ada <ada@example.com>", "ada@example.com", "Ada"),
        ('"Lovelace, \\"Ada\\"" <ada@example.com>', "ada@example.com", 'Lovelace, "Ada"'),
        ("<ada@example.com>", "ada@example.com", None),
        ("Zoë Ødegård <zoë@exämple.com>", "zoë@xn--exmple-cua.com", "Zoë Ødegård"),
        ({"email": "ada@EXAMPLE.com", "name": "Ada"}, "ada@example.com", "Ada"),
        ({"email": "ada+news@example.com"}, "ada+news@example.com", None),
    ],
)
def test_an_address_is_taken_however_it_is_spelled(spelled: Any, email: str, name: str | None) -> None:
    assert people(made(to=spelled)) == [("to", email, name)]
    sender = made(**{"from": spelled}).content.sender
    assert (sender.email, sender.name) == (email, name)


@pytest.mark.parametrize(
    "address",
    [
        "", "ada", "@example.com", "ada@", "a@b@example.com", "ada@localhost", "ada@[127.0.0.1]", "ada@1.2.3.4",
        "ada@example..com", "ada@-example.com", "a b@example.com", "ada@example.com, bob@example.com",
        "Ada <ada@example.com> <bob@example.com>", "Ada <ada@example.com", "Ada ada@example.com>", "Ada <>",
        "ada@example.com\r\nBcc: eve@example.com", "ada\n@example.com", "Ada\r\nBcc: x <ada@example.com>",
        "ada@exa\u2028mple.com", "\x00@example.com", ".ada@example.com", "ada.@example.com",
        "x" * 65 + "@example.com", "a@" + "x" * 64 + ".com", "a@" + ".".join(["x" * 60] * 5) + ".com",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_where_it_stands(address: str) -> None:
    assert refused(to=address)[0] == "#/to"
    assert refused(cc=["ok@example.com", address])[0] == "#/cc/1"
    assert refused(reply_to={"email": address})[0] == "#/reply_to/email"


def test_everybody_is_written_to_once() -> None:
    found = made(to=["a@example.com", "B@example.com"], cc=["A@EXAMPLE.com", "c@example.com"], bcc="b@example.com")
    assert people(found) == [
        ("to", "a@example.com", None),
        ("to", "B@example.com", None),
        ("cc", "c@example.com", None),
    ]


def test_fifty_recipients_are_the_most() -> None:
    half = [f"p{number}@example.com" for number in range(25)]
    other = [f"q{number}@example.com" for number in range(25)]
    assert len(made(to=half, bcc=other).recipients) == MAX_RECIPIENTS
    assert refused(to=half, bcc=[*other, "z@example.com"]) == ("#/to", "length")
    assert refused(to=[f"p{n}@example.com" for n in range(51)]) == ("#/to", "length")
    assert refused(to=[]) == ("#/to", "required")


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"text": None}, "#/html", "required"),
        ({"text": ""}, "#/html", "required"),
        ({"subject": "a\r\nBcc: eve@example.com"}, "#/subject", "control_character"),
        ({"subject": "a\x7f"}, "#/subject", "control_character"),
        ({"subject": "é" * 500}, "#/subject", "length"),
        ({"subject": "x" * 999}, "#/subject", "length"),
        ({"from": {"email": "a@example.com", "name": "A\nBcc: x"}}, "#/from/email", "control_character"),
        ({"headers": {"X-A": "1\r\nBcc: eve@example.com"}}, "#/headers/X-A", "control_character"),
        ({"headers": {"X-A\r\nBcc": "x"}}, "#/headers", "format"),
        ({"headers": {"X A": "x"}}, "#/headers", "format"),
        ({"headers": {"X:A": "x"}}, "#/headers", "format"),
        ({"headers": {"": "x"}}, "#/headers", "format"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "#/headers/x-a", "duplicate"),
        ({"headers": {"X-A": "x" * 998}}, "#/headers/X-A", "length"),
        ({"tags": ["a\nb"]}, "#/tags", "control_character"),
        ({"tags": [""]}, "#/tags/0", "length"),
        ({"metadata": {"k": "a\rb"}}, "#/metadata", "control_character"),
        ({"metadata": {"k": 1}}, "#/metadata", "type"),
        ({"metadata": {"": "x"}}, "#/metadata", "length"),
        ({"stream": "bulk"}, "#/stream", "choice"),
        ({"template": "tpl_1"}, "#/template", "unknown"),
        ({"subject": 5}, "#/subject", "type"),
    ],
)
def test_bad_fields_are_refused_where_they_stand(fields: dict[str, Any], pointer: str, code: str) -> None:
    assert refused(**fields) == (pointer, code)


@pytest.mark.parametrize(
    "name",
    ["From", "to", "SUBJECT", "Received", "DKIM-Signature", "Return-Path", "Bcc", "Message-ID", "Date", "Sender",
     "Content-Type", "Content-Transfer-Encoding", "MIME-Version", "Resent-To", "ARC-Seal", "X-Penguin-Id"],
)  # fmt: skip
def test_headers_that_are_not_the_authors_are_refused(name: str) -> None:
    assert refused(headers={name: "x"}) == (f"#/headers/{name}", "forbidden_header")


def test_headers_of_the_authors_own_pass() -> None:
    headers = {"List-Unsubscribe": "<https://example.com/u>", "X-Campaign": "été", "References": "<a@example.com>"}
    assert made(headers=headers).content.headers == headers


@given(
    st.text(max_size=60), st.sampled_from(["\r", "\n", "\0", "\x0b", "\x85", "\u2028", "\u2029"]), st.text(max_size=60)
)
def test_no_line_end_gets_into_anything_that_becomes_a_header(before: str, end: str, after: str) -> None:
    hostile = (before + end + after)[:200]
    if end not in hostile:
        hostile += end
    for fields in ({"subject": hostile}, {"headers": {"X-A": hostile}}, {"tags": [hostile]}):
        with pytest.raises((Invalid, UnicodeEncodeError)):
            draft(msgspec.convert({**BODY, **fields}, NewEmail))


def attachment(**fields: Any) -> dict[str, Any]:
    return {"filename": "a.pdf", "content": base64.b64encode(b"%PDF").decode(), **fields}


def test_attachments_are_decoded_and_typed_by_their_name() -> None:
    found = made(attachments=[attachment(), attachment(filename="x.unknown-kind", content_id="logo")])
    first, second = found.content.attachments
    assert (first.content, first.content_type) == (b"%PDF", "application/pdf")
    assert (second.content_type, second.content_id) == ("application/octet-stream", "logo")
    typed = made(attachments=[attachment(content_type='text/calendar; method=REQUEST; charset="utf-8"')])
    assert typed.content.attachments[0].content_type.startswith("text/calendar")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"content": "JVBERg"}, "content"),
        ({"content": "JVBE Rg=="}, "content"),
        ({"content": "!!!!"}, "content"),
        ({"content": ""}, "content"),
        ({"filename": "a\r\nb.pdf"}, "filename"),
        ({"filename": "../etc/passwd"}, "filename"),
        ({"filename": "a\\b"}, "filename"),
        ({"filename": ".."}, "filename"),
        ({"filename": "é" * 200}, "filename"),
        ({"content_type": "text"}, "content_type"),
        ({"content_type": "text/plain\r\nX: y"}, "content_type"),
        ({"content_type": "multipart/mixed"}, "content_type"),
        ({"content_type": "text/plain; x"}, "content_type"),
        ({"content_id": "a b"}, "content_id"),
        ({"content_id": "a>b"}, "content_id"),
    ],
)
def test_bad_attachments_are_refused_where_they_stand(fields: dict[str, Any], field: str) -> None:
    assert refused(attachments=[attachment(), attachment(**fields)])[0] == f"#/attachments/1/{field}"


def test_the_message_id_is_of_the_senders_domain() -> None:
    assert message_id("eml_1", "shop@xn--exmple-cua.com") == "eml_1@xn--exmple-cua.com"
