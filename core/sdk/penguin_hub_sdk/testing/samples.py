"""What the suites send."""

from datetime import UTC, datetime
from typing import Final

from penguin_hub_sdk.connectors import Address, Attachment, Event, Message

NOW: Final = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
"""The frozen moment of the kit: when its inbound requests arrive."""

MINIMAL: Final = Message(
    id="eml_minimal0000000000000000",
    message_id="eml_minimal0000000000000000@mail.example.com",
    sender=Address("sender@example.com"),
    to=(Address("recipient@example.org"),),
    subject="Hello",
    text="Plain text.",
)

FULL: Final = Message(
    id="eml_full0000000000000000000",
    message_id="eml_full0000000000000000000@mail.example.com",
    sender=Address("sender@example.com", "Käthe, of Sales"),
    to=(Address("first@example.org", "First Reader"), Address("second@example.org")),
    cc=(Address("copy@example.org", "日本"),),
    bcc=(Address("hidden@example.org"),),
    reply_to=(Address("answers@example.com", "Answers"),),
    subject="Grüße & <b>more</b>",
    html='<p>Hello <img src="cid:logo"> <a href="https://example.com/?a=1&amp;b=2">link</a></p>',
    text="Hello ü 🐧",
    headers={"List-Unsubscribe": "<https://example.com/u/1>", "X-Campaign": "spring"},
    attachments=(
        Attachment("offer.pdf", "application/pdf", b"%PDF-1.4 \x00\xff"),
        Attachment("logo.png", "image/png", b"\x89PNG\r\n", content_id="logo"),
    ),
    tags=("spring",),
    metadata={"customer": "42"},
    stream="marketing",
)

EVENT: Final = Event(
    id="evt_sample00000000000000000",
    type="email.bounced",
    timestamp="2026-11-20T12:00:00Z",
    workspace="wsp_sample00000000000000000",
    data={
        "email_id": "eml_minimal0000000000000000",
        "message_id": "eml_minimal0000000000000000@mail.example.com",
        "recipient": "recipient@example.org",
        "subject": "Hello <there> & *more*",
        "tags": ["spring"],
        "metadata": {"customer": "42"},
        "bounce": "hard",
        "code": "5.1.1",
        "reason": "550 5.1.1 No such user",
    },
)
