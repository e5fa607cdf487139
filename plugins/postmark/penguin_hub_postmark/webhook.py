"""Postmark's webhooks in our words."""

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
from penguin_hub_sdk import Detail, E, InboundRequest, ProviderEvent, errors
from penguin_hub_sdk.events import BounceKind

from penguin_hub_postmark import wire

EMAIL_ID = "hub-email-id"
"""The metadata field that carries our id there and back; a name may have 20 characters at most."""

S = TypeVar("S", bound=msgspec.Struct)

BOUNCES: dict[str, tuple[E, BounceKind | None]] = {
    # https://postmarkapp.com/developer/api/bounce-api#bounce-types
    "HardBounce": (E.BOUNCED, "hard"),
    "BadEmailAddress": (E.BOUNCED, "hard"),
    "SoftBounce": (E.BOUNCED, "soft"),
    "Blocked": (E.BOUNCED, "block"),
    "SpamNotification": (E.BOUNCED, "block"),
    "VirusNotification": (E.BOUNCED, "block"),
    "DMARCPolicy": (E.BOUNCED, "block"),
    "ManuallyDeactivated": (E.BOUNCED, "undetermined"),
    "Unknown": (E.BOUNCED, "undetermined"),
    "Transient": (E.DEFERRED, None),
    "DnsError": (E.DEFERRED, None),
    "SMTPApiError": (E.FAILED, None),
    "TemplateRenderingFailed": (E.FAILED, None),
    "SpamComplaint": (E.COMPLAINED, None),
    "Unsubscribe": (E.UNSUBSCRIBED, None),
    "Subscribe": (E.RESUBSCRIBED, None),
}

# A suppression for a bounce or a complaint follows the record that tells of it, so it is not told a second time.
SUPPRESSIONS = {"ManualSuppression": E.UNSUBSCRIBED}

_ENHANCED = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b")  # RFC 3463


def normalise(request: InboundRequest) -> Iterable[ProviderEvent]:
    """One request is one record. A kind that nobody knows is kept as unknown."""
    kind = _decode(request.body, wire.Envelope).record_type
    reader = READERS.get(kind)
    return (reader(request) if reader else _unknown(request, kind),)


def _delivery(request: InboundRequest) -> ProviderEvent:
    record = _decode(request.body, wire.Delivery)
    return ProviderEvent(
        type=E.DELIVERED,
        raw_type="Delivery",
        at=record.delivered_at or request.received_at,
        key=_key("Delivery", record.message_id, record.recipient, record.delivered_at),
        message=record.message_id,
        email=_email(record),
        recipient=record.recipient,
        detail=Detail(reason=record.details or None, tags=_tags(record)),
    )


def _bounce(request: InboundRequest) -> ProviderEvent:
    record = _decode(request.body, wire.Bounce)
    kind, bounce = BOUNCES.get(record.type, (E.UNKNOWN, None))
    facts = (record.type, record.message_id, record.email, record.bounced_at)
    found = _ENHANCED.search(record.details or "")
    return ProviderEvent(
        type=kind,
        raw_type=record.type,
        at=record.bounced_at or request.received_at,
        key=f"bounce-{record.id}" if record.id else _key(*facts),
        message=record.message_id,
        email=_email(record),
        recipient=record.email,
        detail=Detail(
            reason=record.details or record.description or None,
            code=found.group() if found else record.type,
            bounce=bounce,
            tags=_tags(record),
        ),
    )


def _open(request: InboundRequest) -> ProviderEvent:
    return _seen(request, _decode(request.body, wire.Open), E.OPENED, None)


def _click(request: InboundRequest) -> ProviderEvent:
    record = _decode(request.body, wire.Click)
    return _seen(request, record, E.CLICKED, record.original_link)


def _seen(request: InboundRequest, record: wire.Open, kind: E, url: str | None) -> ProviderEvent:
    return ProviderEvent(
        type=kind,
        raw_type="Click" if url else "Open",
        at=record.received_at or request.received_at,
        key=_key(kind, record.message_id, record.recipient, record.received_at, url),
        message=record.message_id,
        email=_email(record),
        recipient=record.recipient,
        detail=Detail(
            url=url,
            user_agent=record.user_agent or None,
            ip=record.geo.ip if record.geo else None,
            tags=_tags(record),
        ),
    )


def _subscription(request: InboundRequest) -> ProviderEvent:
    record = _decode(request.body, wire.SubscriptionChange)
    reason = record.suppression_reason or ""
    kind = SUPPRESSIONS.get(reason, E.UNKNOWN) if record.suppress_sending else E.RESUBSCRIBED
    return ProviderEvent(
        type=kind,
        raw_type=f"SubscriptionChange/{reason}" if record.suppress_sending else "SubscriptionChange",
        at=record.changed_at or request.received_at,
        key=_key("SubscriptionChange", record.message_id, record.recipient, record.changed_at),
        message=record.message_id,
        email=_email(record),
        recipient=record.recipient,
        detail=Detail(reason=" by ".join(word for word in (reason, record.origin) if word) or None, tags=_tags(record)),
    )


def _inbound(request: InboundRequest) -> ProviderEvent:
    """A message that answers one of ours names it in In-Reply-To; any other mail is kept as unknown."""
    record = _decode(request.body, wire.Inbound)
    answered = next((header.value for header in record.headers if header.name.lower() == "in-reply-to"), None)
    return ProviderEvent(
        type=E.REPLIED if answered else E.UNKNOWN,
        raw_type="Inbound",
        at=request.received_at,
        key=_key("Inbound", record.message_id),
        message=answered.strip().strip("<>") if answered else None,
        recipient=record.sender,
    )


READERS: dict[str, Callable[[InboundRequest], ProviderEvent]] = {
    "Delivery": _delivery,
    "Bounce": _bounce,
    "SpamComplaint": _bounce,
    "Open": _open,
    "Click": _click,
    "SubscriptionChange": _subscription,
    "Inbound": _inbound,
}


def _unknown(request: InboundRequest, kind: str) -> ProviderEvent:
    return ProviderEvent(
        type=E.UNKNOWN, raw_type=kind, at=request.received_at, key=hashlib.sha256(request.body).hexdigest()
    )


def _decode(body: bytes, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.BadAnswer(f"Postmark sent a webhook that cannot be read: {error}") from error


def _email(record: wire.Record) -> str | None:
    return (record.metadata or {}).get(EMAIL_ID)


def _tags(record: wire.Record) -> tuple[str, ...]:
    return (record.tag,) if record.tag else ()


def _key(*parts: object) -> str:
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()
