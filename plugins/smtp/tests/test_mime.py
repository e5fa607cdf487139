"""The message as mail: what comes out of the parser of the standard library is what went in."""

import email
import email.policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penguin_hub_sdk import Address, Attachment, Message, errors
from penguin_hub_smtp import mime


def message(**changes: Any) -> Message:
    facts: dict[str, Any] = {
        "id": "eml_1",
        "message_id": "eml_1@mail.example.com",
        "sender": Address("sender@example.com"),
        "to": (Address("ann@example.com"),),
        "subject": "Hello",
        "text": "Hello",
        **changes,
    }
    return Message(**facts)


def built(**changes: Any) -> EmailMessage:
    content = mime.build(message(**changes), utf8=False)
    assert content.isascii()
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    assert b"\n" not in content.replace(b"\r\n", b"")
    found = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


PRINTABLE = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp", "Cn", "Co")), min_size=1, max_size=120
)


@given(subject=PRINTABLE, name=PRINTABLE, text=st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=3000))
def test_text_comes_through(subject: str, name: str, text: str) -> None:
    facts = {"subject": f"a {subject} z", "to": (Address("ann@example.com", name), Address("bob@example.com", "Bob"))}
    found = built(**facts, text=text)
    assert found["subject"] == f"a {subject} z"
    # The newer parser of the library puts a space between two encoded words of a name; RFC 2047 has none there.
    raw = email.message_from_bytes(mime.build(message(**facts), utf8=False))["to"]
    assert [(str(make_header(decode_header(word))), one) for word, one in getaddresses([raw])] == [
        (name, "ann@example.com"),
        ("Bob", "bob@example.com"),
    ]
    assert found.get_content().replace("\r\n", "\n").removesuffix("\n") == text.removesuffix("\n")


def test_the_parts_stand_where_they_belong() -> None:
    found = built(
        text="plain",
        html='<img src="cid:logo">',
        attachments=(
            Attachment("logo.png", "image/png", b"\x89PNG", content_id="logo"),
            Attachment("bücher.csv", "text/csv; charset=utf-8", "ü;1\n".encode()),
            Attachment("mail.eml", "message/rfc822", b"Subject: x\r\n\r\nhi"),
            Attachment("odd", "text/pl ain", b"odd"),
        ),
    )
    assert [part.get_content_type() for part in found.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "text/csv",
        "application/octet-stream",
        "application/octet-stream",
    ]
    logo, table, mail, _ = [part for part in found.walk() if part.get_filename()]
    assert (logo["content-id"], logo.get_content_disposition(), logo.get_content()) == ("<logo>", "inline", b"\x89PNG")
    assert (table.get_filename(), table.get_payload(decode=True)) == ("bücher.csv", "ü;1\n".encode())
    assert mail.get_payload(decode=True) == b"Subject: x\r\n\r\nhi"


@pytest.mark.parametrize(
    ("text", "html", "kind"), [("t", None, "text/plain"), (None, "<p>", "text/html"), (None, None, "text/plain")]
)
def test_one_body_needs_no_multipart(text: str | None, html: str | None, kind: str) -> None:
    assert built(text=text, html=html).get_content_type() == kind


def test_a_content_id_without_html_is_an_attachment() -> None:
    found = built(attachments=(Attachment("logo.png", "image/png", b"\x89PNG", content_id="logo"),))
    assert found.get_content_type() == "multipart/mixed"


def test_long_links_of_list_headers_stay_links() -> None:
    link = f"<https://example.com/unsubscribe/{'u' * 300}>, <mailto:unsubscribe@example.com?subject={'s' * 100}>"
    found = built(headers={"List-Unsubscribe": link, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"})
    assert found["list-unsubscribe"] == link
    raw = mime.build(message(headers={"List-Unsubscribe": link}), utf8=False)
    assert f"List-Unsubscribe: {link}\r\n".encode() in raw


def test_headers_are_folded_or_encoded_where_they_must() -> None:
    words = "word " * 400 + "end"
    found = built(headers={"X-Long": words, "X-Umlaut": "ä" * 200})
    assert (found["x-long"], found["x-umlaut"]) == (words, "ä" * 200)
    with pytest.raises(errors.Rejected, match="too long"):
        built(headers={"X-Long": "w" * 2000})


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "a\r\nBcc: eve@example.com"},
        {"subject": "a\nb"},
        {"subject": "a\x00b"},
        {"headers": {"X-A": "1\r\nBcc: eve@example.com"}},
        {"headers": {"X-A: 1\r\nBcc": "eve@example.com"}},
        {"headers": {"X A": "1"}},
        {"headers": {"": "1"}},
        {"headers": {"Bcc": "eve@example.com"}},
        {"headers": {"content-type": "text/html"}},
        {"headers": {"Message-ID": "<other@example.com>"}},
        {"headers": {"X-Ü": "1"}},
        {"message_id": "a@b>\r\nX: <"},
        {"sender": Address("a@example.com\r\nRCPT TO:<eve@example.com>")},
        {"sender": Address("a@example.com", "A\r\nBcc: eve@example.com")},
        {"to": (Address("a@example.com>, <eve@example.com"),)},
        {"to": (Address("a,eve@example.com"),)},
        {"to": (Address("a@b@example.com"),)},
        {"to": (Address("nobody"),)},
        {"to": (Address("a@ex\u202eample..com"),)},
        {"attachments": (Attachment("a\r\nX: y", "text/plain", b""),)},
        {"attachments": (Attachment("a", "text/plain\r\nX: y", b""),)},
        {"html": "x", "attachments": (Attachment("a", "image/png", b"", content_id="a>\r\nX: <y"),)},
    ],
)
def test_nothing_breaks_out_of_its_field(changes: dict[str, Any]) -> None:
    with pytest.raises(errors.Rejected):
        built(**changes)
