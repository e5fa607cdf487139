"""Messages as clients send and see them."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from penguin_hub_sdk.events import Detail

from penguin_hub.http.bodies import Input

MAX_BODY = 10 * 1024 * 1024
"""Bytes of a whole request to send, attachments in base64 included."""

Stream = Literal["transactional", "marketing"]
Status = Literal[
    "queued", "sent", "deferred", "delivered", "failed", "suppressed", "bounced", "opened", "clicked", "replied",
    "unsubscribed", "complained",
]  # fmt: skip
Kind = Literal["to", "cc", "bcc"]


class Mailbox(Input, frozen=True, kw_only=True):
    email: Annotated[str, msgspec.Meta(max_length=254, examples=["ada@example.com"])]
    name: Annotated[str, msgspec.Meta(max_length=200, examples=["Ada Lovelace"])] | None = None


Spelled: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        max_length=600,
        description="An address, or a name and an address.",
        examples=["ada@example.com", "Ada Lovelace <ada@example.com>"],
    ),
]
OneMailbox: TypeAlias = Spelled | Mailbox
Mailboxes: TypeAlias = Spelled | Mailbox | list[Spelled | Mailbox]


class NewAttachment(Input, frozen=True, kw_only=True):
    filename: Annotated[str, msgspec.Meta(min_length=1, max_length=255, examples=["invoice.pdf"])]
    content: Annotated[bytes, msgspec.Meta(description="The file, in standard base64 with padding.")]
    content_type: Annotated[str, msgspec.Meta(max_length=255, examples=["application/pdf"])] | None = None
    """Guessed from the file's name when absent."""
    content_id: Annotated[str, msgspec.Meta(max_length=255, examples=["logo"])] | None = None
    """For a picture that the HTML shows as `cid:logo`."""


class NewEmail(Input, frozen=True, kw_only=True):
    sender: OneMailbox = msgspec.field(name="from")
    to: Mailboxes
    cc: Mailboxes = []
    bcc: Mailboxes = []
    reply_to: Mailboxes = []
    subject: Annotated[str, msgspec.Meta(max_length=998, examples=["Your invoice"])]
    html: str | None = None
    text: str | None = None
    headers: Annotated[
        dict[str, str], msgspec.Meta(max_length=50, examples=[{"List-Unsubscribe": "<https://example.com/u/1>"}])
    ] = {}
    attachments: Annotated[list[NewAttachment], msgspec.Meta(max_length=50)] = []
    tags: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=128)]],
        msgspec.Meta(max_length=20, examples=[["invoice"]]),
    ] = []
    metadata: Annotated[
        dict[Annotated[str, msgspec.Meta(min_length=1, max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]],
        msgspec.Meta(max_length=50, description="Yours to keep: comes back in events.", examples=[{"order": "1815"}]),
    ] = {}
    stream: Stream = "transactional"
    """`marketing` also keeps away from people who unsubscribed."""
    connection: Annotated[str, msgspec.Meta(max_length=64, examples=["cnx_06f3k2"])] | None = None
    """The connection to send through; the tenant's choice by stream when absent."""


class AcceptedEmail(msgspec.Struct, frozen=True):
    """The message is stored and will be tried, whatever happens to the hub from now on."""

    id: str
    status: Literal["queued", "suppressed"]


class Address(msgspec.Struct, frozen=True):
    email: str
    name: str | None


class Recipient(msgspec.Struct, frozen=True):
    kind: Kind
    email: str
    name: str | None
    status: Status


class EmailSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One message in a list."""

    id: str
    workspace: str
    connection: str
    plugin: str | None
    status: Status
    """How far it has come with the recipient who is furthest."""
    stream: Stream
    test: bool
    message_id: str
    sender: Address = msgspec.field(name="from")
    recipients: list[Recipient]
    subject: str
    tags: list[str]
    metadata: dict[str, str]
    created_at: datetime


class TimelineEvent(msgspec.Struct, frozen=True):
    """One thing that happened to a message."""

    type: str
    at: datetime
    recipient: str | None
    raw_type: str | None
    """The provider's own word, where it came from the provider."""
    detail: Detail


class StoredAttachment(msgspec.Struct, frozen=True):
    filename: str
    content_type: str
    size: int
    content_id: str | None


class Email(EmailSummary, frozen=True, kw_only=True):
    """One message with what it says and what became of it."""

    reply_to: list[Address]
    html: str | None
    text: str | None
    headers: dict[str, str]
    attachments: list[StoredAttachment]
    events: list[TimelineEvent]


Payload: TypeAlias = dict[str, Any]
"""`data` of an `email.*` event."""
