"""Events as the hub makes them, as a tenant publishes them, and as the API shows them."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from penguin_hub.http.bodies import Input

TYPE_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}$"
MAX_DATA: Final = 256 * 1024
"""Bytes of one event's `data`."""
MAX_BATCH: Final = 1000

EventType = Annotated[str, msgspec.Meta(pattern=TYPE_PATTERN, max_length=128, description="Words joined by dots.")]
# No dot: Standard Webhooks signs `id.timestamp.body`, and a dot in the id would let two messages share one text.
MessageId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_~:=+-]{1,128}$")]
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a feature hands to `EventsService.add`. `data` as Raw is sent byte for byte."""

    type: str
    data: dict[str, Any] | msgspec.Raw
    workspace: str | None = None
    tags: tuple[str, ...] = ()
    """The contact's tags, which endpoints filter by."""
    occurred_at: datetime | None = None
    test: bool = False
    subject: str | None = None
    """The id of what it is about (`eml_...`, `con_...`), whose order is kept where an endpoint asks for order."""
    message_id: str | None = None
    """A tenant's own id; otherwise the event's id is the message's."""


class PublishedEvent(Input, frozen=True, kw_only=True):
    """A tenant's own event. `data` is sent as it was written: the same key order, the same spelling of numbers."""

    type: EventType
    data: msgspec.Raw
    id: MessageId | None = None
    """Yours: publishing it twice is refused with 409."""
    workspace: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    tags: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=50)] = ()
    occurred_at: datetime | None = None
    ordering_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    """What it is about, such as an order's number: its `subject` from then on. Endpoints that ask for order get the
    events of one key one after the other."""


class Accepted(msgspec.Struct, frozen=True):
    """The event is stored, and so is each of its deliveries."""

    id: str
    event_id: str
    type: str


class AcceptedMany(msgspec.Struct, frozen=True):
    data: list[Accepted]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the log."""

    id: str
    message_id: str
    """The `webhook-id` of its deliveries."""
    type: str
    workspace: str | None
    subject: str | None
    tags: list[str]
    test: bool
    created_at: datetime
    body: msgspec.Raw | msgspec.UnsetType | None = msgspec.UNSET
    """What is delivered, byte for byte; null once it was expunged. Not in lists."""


class Envelope(msgspec.Struct, frozen=True):
    """The body of a delivered webhook, in the order of its keys."""

    id: str
    type: str
    timestamp: str
    workspace: str | None
    data: dict[str, Any] | msgspec.Raw
