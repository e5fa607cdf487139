"""Mailgun's shapes: the answers of its API, and what its webhooks carry."""

from typing import Annotated, Any

from msgspec import Meta, Struct, field

Seconds = Annotated[float, Meta(ge=0, lt=253_402_300_800)]
"""Unix time, with a fraction; below the year 10000."""


class Sent(Struct, frozen=True):
    """`POST /v3/{domain}/messages`."""

    id: str
    """Our Message-ID back again, in angle brackets."""
    message: str = ""


class Failure(Struct, frozen=True):
    message: str


class DomainState(Struct, frozen=True):
    state: str = "active"


class Domain(Struct, frozen=True):
    """`GET /v4/domains/{name}`."""

    domain: DomainState = DomainState()


class Status(Struct, frozen=True, rename="kebab"):
    """What the recipient's server said."""

    code: int | str | None = None
    message: str | None = None
    description: str | None = None
    enhanced_code: str | None = None


class Headers(Struct, frozen=True, rename="kebab"):
    message_id: str | None = None


class MessageFacts(Struct, frozen=True):
    headers: Headers = Headers()


class ClientInfo(Struct, frozen=True, rename="kebab"):
    user_agent: str | None = None


class Reject(Struct, frozen=True):
    reason: str | None = None


class EventData(Struct, frozen=True, kw_only=True, rename="kebab"):
    """https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-structure"""

    id: str | None = None
    """Unique within a day only."""
    event: str
    timestamp: Seconds | None = None
    severity: str | None = None
    reason: str | None = None
    recipient: str | None = None
    message: MessageFacts = MessageFacts()
    delivery_status: Status = Status()
    reject: Reject = Reject()
    user_variables: dict[str, Any] | list[Any] | None = None
    """An empty one may come as a list."""
    tags: list[str] | None = None
    url: str | None = None
    ip: str | None = None
    client_info: ClientInfo | None = None


class Webhook(Struct, frozen=True):
    """Beside it stands `signature`, which the verifier reads."""

    event_data: EventData = field(name="event-data")
