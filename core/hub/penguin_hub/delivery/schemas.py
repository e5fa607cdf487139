"""Endpoints, deliveries and attempts as the API takes and shows them."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from penguin_hub.delivery.authentication import Auth
from penguin_hub.delivery.client import Timings
from penguin_hub.delivery.legacy import LegacySignature
from penguin_hub.delivery.matching import Filter
from penguin_hub.events.schemas import EventType
from penguin_hub.http.bodies import Input

Pattern = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(\*|[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}(\.\*)?)$",
        max_length=128,
        description="A type such as `email.sent`, a family such as `email.*`, or `*`.",
    ),
]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2048, examples=["https://example.com/hooks"])]
Patterns = Annotated[list[Pattern], msgspec.Meta(min_length=1, max_length=50)]
Description = Annotated[str, msgspec.Meta(max_length=500)]
Headers = Annotated[
    dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=1024)]],
    msgspec.Meta(
        max_length=16, description="Sent with every delivery. Values that are credentials are never shown again."
    ),
]
Delay = Annotated[float, msgspec.Meta(ge=0.1, le=7 * 24 * 3600)]
Retry = (
    Literal["default", "patient", "none"]
    | Annotated[list[Delay], msgspec.Meta(max_length=20, description="Seconds before each retry.")]
)
Rate = Annotated[float, msgspec.Meta(gt=0, le=10_000, description="Deliveries per second, at most.")]
Concurrency = Annotated[int, msgspec.Meta(ge=1, le=256, description="Deliveries under way at once, at most.")]
Ordered = Annotated[
    bool,
    msgspec.Meta(description="One after the other, in the order of the events, for each `ordering_key`."),
]
Secret = Annotated[str, msgspec.Meta(max_length=128)]
Kind = Literal["hmac", "ed25519"]
Mode = Annotated[
    Literal["push", "poll"],
    msgspec.Meta(description="`poll`: no `url`; nothing is sent, and `GET /webhooks/{id}/poll` gives the events."),
]

DEFAULT_CONCURRENCY = 64


class NewWebhook(Input, frozen=True, kw_only=True):
    """An endpoint: a `url`, a `connection` whose plugin takes events, or neither and `"mode": "poll"`."""

    mode: Mode = "push"
    url: Url | None = None
    connection: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    events: Patterns
    description: Description = ""
    filter: Filter = msgspec.field(default_factory=Filter)
    headers: Headers = {}
    retry: Retry = "default"
    rate: Rate | None = None
    concurrency: Concurrency = DEFAULT_CONCURRENCY
    ordered: Ordered = False
    auth: Auth | None = None
    legacy_signature: LegacySignature | None = None
    secret: Secret | None = None
    """Yours, for a move from another system; otherwise one is made."""
    signing: Kind = "hmac"


class ReplacedWebhook(Input, frozen=True, kw_only=True):
    """What `PUT` sets; what is left out goes back to its default. Secrets and state stay; so does `mode`."""

    mode: Mode = "push"
    url: Url | None = None
    connection: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    events: Patterns
    description: Description = ""
    filter: Filter = msgspec.field(default_factory=Filter)
    headers: Headers = {}
    retry: Retry = "default"
    rate: Rate | None = None
    concurrency: Concurrency = DEFAULT_CONCURRENCY
    ordered: Ordered = False
    auth: Auth | None = None
    legacy_signature: LegacySignature | None = None


class ChangedWebhook(Input, frozen=True, kw_only=True):
    """What `PATCH` changes; what is left out stays."""

    url: Url | msgspec.UnsetType = msgspec.UNSET
    events: Patterns | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType = msgspec.UNSET
    filter: Filter | msgspec.UnsetType = msgspec.UNSET
    headers: Headers | msgspec.UnsetType = msgspec.UNSET
    retry: Retry | msgspec.UnsetType = msgspec.UNSET
    rate: Rate | msgspec.UnsetType | None = msgspec.UNSET
    concurrency: Concurrency | msgspec.UnsetType = msgspec.UNSET
    ordered: Ordered | msgspec.UnsetType = msgspec.UNSET
    auth: Auth | msgspec.UnsetType | None = msgspec.UNSET
    legacy_signature: LegacySignature | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint has been doing in the last 24 hours."""

    status: Literal["unknown", "healthy", "degraded", "failing"]
    attempts: int
    success_rate: float | None
    """0 to 1."""
    average_ms: float | None
    failing_since: datetime | None


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint. `secret` stands in the answer that makes it, and nowhere else."""

    id: str
    mode: Literal["push", "poll"]
    url: str | None
    connection: str | None
    events: list[str]
    description: str
    filter: Filter
    headers: dict[str, str]
    retry: list[float]
    rate: float | None
    concurrency: int
    ordered: bool
    auth: Auth | None
    legacy_signature: LegacySignature | None
    enabled: bool
    disabled_reason: Literal["manual", "gone", "failing"] | None
    health: Health
    created_at: datetime
    updated_at: datetime
    secret: str | msgspec.UnsetType = msgspec.UNSET
    public_key: str | msgspec.UnsetType = msgspec.UNSET
    """For ed25519: what receivers verify with."""


class Polled(msgspec.Struct, frozen=True):
    """What is new for an endpoint that is polled."""

    data: list[msgspec.Raw]
    """Each as it would have been delivered, byte for byte."""
    next_cursor: str
    """To be given with the next poll, once these are dealt with."""
    has_more: bool
    """More is there already."""


class Rotation(Input, frozen=True, kw_only=True):
    """A new signing secret; until `grace_seconds` are over, deliveries carry a signature of each."""

    grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=7 * 24 * 3600)] = 24 * 3600
    secret: Secret | None = None
    signing: Kind = "hmac"


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    secret: str
    public_key: str | msgspec.UnsetType = msgspec.UNSET
    previous_valid_until: datetime | None


class TestEvent(Input, frozen=True, kw_only=True):
    """What a test delivery carries."""

    __test__ = False

    type: EventType = "webhook.test"
    data: dict[str, object] | None = None


class RecoveryWanted(Input, frozen=True, kw_only=True):
    """Deliver again what failed, was discarded, or was missed while the endpoint was disabled."""

    since: datetime
    until: datetime | None = None


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    webhook_id: str
    state: Literal["running", "done", "cancelled"]
    since: datetime
    until: datetime
    examined: int
    """Events looked at so far."""
    requeued: int
    """Deliveries made or made again so far."""
    created_at: datetime


DeliveryStatus = Literal["pending", "retrying", "succeeded", "failed", "discarded"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to one endpoint."""

    id: str
    webhook_id: str
    event_id: str
    type: str
    status: DeliveryStatus
    attempts: int
    """Finished attempts."""
    last_status: int | None
    """The HTTP status of the last attempt."""
    last_error: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None


class Request(msgspec.Struct, frozen=True):
    headers: list[tuple[str, str]]


class Response(msgspec.Struct, frozen=True):
    headers: list[tuple[str, str]]
    body: str
    truncated: bool


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt. `status` is null when no answer came; then `error` says how it failed."""

    id: str
    number: int
    trigger: str
    """event, retry, replay or probe."""
    at: datetime
    status: int | None
    error: str | None
    message: str | None
    duration_ms: int
    timings: Timings
    request: Request
    response: Response | None


class DeliveryDetail(Delivery, frozen=True, kw_only=True):
    """With every attempt, and the body that is sent; null once it was expunged."""

    attempt_log: list[Attempt]
    body: msgspec.Raw | None
