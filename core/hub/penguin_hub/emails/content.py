"""A message as it is kept: checked once, when it is accepted."""

from typing import Literal

import msgspec
from penguin_hub_sdk import connectors


class Content(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a message says; everything but to whom. Stored as MessagePack: new fields go to the end, with defaults."""

    sender: connectors.Address
    reply_to: tuple[connectors.Address, ...]
    subject: str
    html: str | None
    text: str | None
    headers: dict[str, str]
    attachments: tuple[connectors.Attachment, ...]


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """One person a message is for."""

    kind: Literal["to", "cc", "bcc"]
    email: str
    key: str
    """The address as it is compared: `platform.addresses`."""
    name: str | None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A request to send that has passed every check."""

    content: Content
    recipients: tuple[Recipient, ...]
    tags: tuple[str, ...]
    metadata: dict[str, str]
    stream: Literal["transactional", "marketing"]
    connection: str | None


def pack(content: Content) -> bytes:
    return msgspec.msgpack.encode(content)


def unpack(raw: bytes) -> Content:
    return msgspec.msgpack.decode(raw, type=Content)
