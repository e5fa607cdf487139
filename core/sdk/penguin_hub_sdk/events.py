"""The canonical vocabulary. Every provider's own words are translated into these; nothing else reaches a tenant."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec


class E(StrEnum):
    """What can happen, one comment a word."""

    # A message on its way out.
    QUEUED = "email.queued"  # accepted by the hub
    SENT = "email.sent"  # accepted by the provider
    DEFERRED = "email.deferred"  # a temporary refusal; somebody will try again
    DELIVERED = "email.delivered"  # the recipient's server took it
    BOUNCED = "email.bounced"  # refused for good (`detail.bounce` says hard or soft)
    FAILED = "email.failed"  # never left: rejected, suppressed, or out of retries
    # What people do with it.
    OPENED = "email.opened"
    CLICKED = "email.clicked"  # `detail.url` is the link
    REPLIED = "email.replied"
    COMPLAINED = "email.complained"  # reported as spam
    UNSUBSCRIBED = "email.unsubscribed"  # by the provider's link or list header
    RESUBSCRIBED = "email.resubscribed"  # the provider lifted a suppression
    # What a provider says that we have no word for. Kept with its raw type, never dropped.
    UNKNOWN = "unknown"


BounceKind = Literal["hard", "soft", "block", "undetermined"]


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a provider adds to an event. Text is cut to what a timeline can show; absent means not said."""

    reason: str | None = None
    """The provider's or the recipient server's own sentence."""
    code: str | None = None
    """SMTP enhanced status code (RFC 3463) where there is one, else the provider's."""
    bounce: BounceKind | None = None
    """`hard`: the address does not work, and is suppressed. The others may work another time."""
    url: str | None = None
    user_agent: str | None = None
    ip: str | None = None
    tags: tuple[str, ...] = ()


class ProviderEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a provider told us, in our words. What `normalise` yields."""

    type: E
    raw_type: str
    """The provider's own word, for `unknown` above all."""
    at: datetime
    """When it happened, by the provider's clock, with its zone."""
    key: str
    """Equal for every redelivery of the same event and different for any other: its id, or what makes it unique."""
    message: str | None = None
    """The provider's id of the message, as its Receipt had it."""
    email: str | None = None
    """Our id of the message, where the provider gives our metadata back."""
    recipient: str | None = None
    detail: Detail = Detail()
