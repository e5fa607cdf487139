"""Postmark's shapes, as its API reference names them. Absent and null are the same to Postmark."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

Timestamp = Annotated[datetime, Meta(tz=True)]


class Header(Struct, frozen=True, rename="pascal"):
    name: str
    value: str


class Attachment(Struct, frozen=True, rename="pascal", omit_defaults=True):
    name: str
    content: bytes
    content_type: str
    content_id: str | None = field(default=None, name="ContentID")


class Email(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """The body of `POST /email`, and one item of `POST /email/batch`."""

    sender: str = field(name="From")
    to: str
    cc: str | None = None
    bcc: str | None = None
    subject: str
    tag: str | None = None
    html_body: str | None = None
    text_body: str | None = None
    reply_to: str | None = None
    headers: list[Header] = []
    metadata: dict[str, str] = {}
    attachments: list[Attachment] = []
    message_stream: str


class Answer(Struct, frozen=True, rename="pascal"):
    """What became of one message. In a batch each has its own, whatever the HTTP status."""

    error_code: int
    message: str = ""
    message_id: str | None = field(default=None, name="MessageID")


class Envelope(Struct, frozen=True, rename="pascal"):
    """The part that every webhook has."""

    record_type: str


class Record(Struct, frozen=True, rename="pascal"):
    """What is not needed to understand a record may be missing: Postmark's own test requests leave much out."""

    message_id: str | None = field(default=None, name="MessageID")
    metadata: dict[str, str] | None = None
    tag: str | None = None


class Delivery(Record, frozen=True, kw_only=True, rename="pascal"):
    recipient: str | None = None
    delivered_at: Timestamp | None = None
    details: str | None = None


class Bounce(Record, frozen=True, kw_only=True, rename="pascal"):
    """Also what a spam complaint looks like."""

    id: int | None = field(default=None, name="ID")
    type: str
    email: str | None = None
    bounced_at: Timestamp | None = None
    description: str | None = None
    details: str | None = None


class Geo(Struct, frozen=True):
    ip: str | None = field(default=None, name="IP")


class Open(Record, frozen=True, kw_only=True, rename="pascal"):
    recipient: str | None = None
    received_at: Timestamp | None = None
    user_agent: str | None = None
    geo: Geo | None = None


class Click(Open, frozen=True, kw_only=True, rename="pascal"):
    original_link: str


class SubscriptionChange(Record, frozen=True, kw_only=True, rename="pascal"):
    recipient: str | None = None
    changed_at: Timestamp | None = None
    suppress_sending: bool
    suppression_reason: str | None = None
    origin: str | None = None


class Inbound(Struct, frozen=True, kw_only=True, rename="pascal"):
    """A message that came in; `message_id` is the incoming one's."""

    message_id: str | None = field(default=None, name="MessageID")
    sender: str | None = field(default=None, name="From")
    headers: list[Header] = []


def batch(emails: list[bytes]) -> bytes:
    """One JSON array of messages that are encoded already."""
    return msgspec.json.encode([msgspec.Raw(email) for email in emails])
