"""What a connector can do, a Protocol a kind. A plugin's class is checked by shape; there is no base class.

Everything that crosses the line between hub and plugin is a struct of this module or of `events`.
"""

import re
from collections.abc import Sequence
from email.utils import quote
from typing import Literal, Protocol, runtime_checkable

import msgspec

from penguin_hub_sdk.errors import PluginError
from penguin_hub_sdk.events import ProviderEvent

_SPECIALS = re.compile(r'[][\\()<>@,:;".]')


class Address(msgspec.Struct, frozen=True):
    """A mailbox. Both parts are checked by the hub: no control characters, one `@`, at most 254 bytes of address."""

    email: str
    name: str | None = None

    @property
    def mailbox(self) -> str:
        """`Name <user@host>` for APIs that take one string: Unicode, and the name quoted where RFC 5322 wants it."""
        if not self.name:
            return self.email
        name = f'"{quote(self.name)}"' if _SPECIALS.search(self.name) else self.name
        return f"{name} <{self.email}>"


class Attachment(msgspec.Struct, frozen=True):
    filename: str
    content_type: str
    content: bytes
    content_id: str | None = None
    """Set for an inline part that the HTML shows as `cid:...`."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message as a provider gets it: complete, rendered, checked, suppressed recipients taken out."""

    id: str
    """The hub's id (`eml_...`). Give it to the provider as metadata, so that its webhooks bring it back."""
    message_id: str
    """RFC 5322 Message-ID without angle brackets; the same on every attempt."""
    sender: Address
    to: tuple[Address, ...]
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    subject: str
    html: str | None = None
    text: str | None = None
    headers: dict[str, str] = {}
    """Further header fields; names and values are free of CR and LF."""
    attachments: tuple[Attachment, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    stream: Literal["transactional", "marketing"] = "transactional"

    @property
    def recipients(self) -> tuple[Address, ...]:
        """Everybody it goes to."""
        return self.to + self.cc + self.bcc


class Refusal(msgspec.Struct, frozen=True):
    """A recipient that the provider would not take while it took the message."""

    recipient: str
    detail: str
    code: str | None = None
    permanent: bool = True
    """False: the same recipient may be accepted later, and the hub tries again for that one alone."""


class Receipt(msgspec.Struct, frozen=True):
    """The provider has taken the message."""

    id: str
    """The provider's id, by which its webhooks will name the message."""
    refused: tuple[Refusal, ...] = ()
    events: tuple[ProviderEvent, ...] = ()
    """What the connector knows will happen to the message, for providers that tell nothing by webhook. The hub records
    each when its `at` comes, which may be in the near future; `key` keeps it single when the attempt is repeated."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the tenant on its way to a destination: the body of a delivered webhook."""

    id: str
    type: str
    timestamp: str
    workspace: str | None = None
    data: dict[str, object] = {}


@runtime_checkable
class Connector(Protocol):
    """What every connector has."""

    async def check(self) -> None:
        """Prove that the configuration works, with the cheapest call the provider has that needs the credential.

        Called before a connection is saved and for its health. Changes nothing at the provider. Raises AuthExpired,
        ConfigInvalid (with `field`), NotAllowed, or whatever `ctx.http` raises.
        """


@runtime_checkable
class EmailProvider(Connector, Protocol):
    """Sends mail."""

    async def send(self, message: Message) -> Receipt:
        """Hand one message to the provider. A message wholly refused is an error (Rejected), not a receipt.

        Called again with the same `message.id` and `message_id` when an attempt failed in a retryable way or its
        outcome is unknown: pass on an idempotency key where the provider has one.
        """


@runtime_checkable
class BatchEmailProvider(EmailProvider, Protocol):
    """Sends many messages in one call (the manifest's `batch` says how many at most)."""

    async def send_batch(self, messages: Sequence[Message]) -> Sequence[Receipt | PluginError]:
        """One outcome for each message, in order. Raise only when the call as a whole failed."""


@runtime_checkable
class Destination(Connector, Protocol):
    """Takes the tenant's events: a chat channel, an activity log, an analytics project."""

    async def deliver(self, event: Event) -> None:
        """Show or record one event. Retried by the delivery engine as an endpoint is: the event's id never changes."""
