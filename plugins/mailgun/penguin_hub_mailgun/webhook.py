"""Mailgun's webhooks in our words."""

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from penguin_hub_sdk import Detail, E, InboundRequest, ProviderEvent, errors
from penguin_hub_sdk.events import BounceKind

from penguin_hub_mailgun import wire

EMAIL_ID = "hub-email-id"
"""The user variable that carries our id there and back."""

EVENTS: dict[str, E] = {
    # https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-types
    "accepted": E.SENT,
    "rejected": E.FAILED,
    "delivered": E.DELIVERED,
    "opened": E.OPENED,
    "clicked": E.CLICKED,
    "unsubscribed": E.UNSUBSCRIBED,
    "complained": E.COMPLAINED,
}

# Why a message `failed` with severity `permanent`. Mailgun gives up on an address of its own lists without trying it.
PERMANENT: dict[str, tuple[E, BounceKind | None]] = {
    "bounce": (E.BOUNCED, "hard"),
    "suppress-bounce": (E.BOUNCED, "hard"),
    "suppress-complaint": (E.FAILED, None),
    "suppress-unsubscribe": (E.FAILED, None),
    "espblock": (E.BOUNCED, "block"),
    "old": (E.BOUNCED, "soft"),  # tried for hours, and always refused for the time being
}

_ENHANCED = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b")

# RFC 3463: x.1.z is about the address, x.2.z about the mailbox, x.7.z about policy.
SUBJECTS: dict[str, BounceKind] = {"5.1": "hard", "5.7": "block"}


def normalise(request: InboundRequest) -> Iterable[ProviderEvent]:
    """One request is one event. A kind that nobody knows (`stored`, `list_uploaded`, ...) is kept as unknown."""
    data = _decode(request.body).event_data
    kind, bounce = _failure(data) if data.event == "failed" else (EVENTS.get(data.event, E.UNKNOWN), None)
    status = data.delivery_status
    variables = data.user_variables if isinstance(data.user_variables, dict) else {}
    email = variables.get(EMAIL_ID)
    event = ProviderEvent(
        type=kind,
        raw_type=f"failed/{data.severity}/{data.reason}" if data.event == "failed" else data.event,
        at=request.received_at if data.timestamp is None else datetime.fromtimestamp(data.timestamp, UTC),
        key=f"{data.id}@{data.timestamp}" if data.id else hashlib.sha256(request.body).hexdigest(),
        message=data.message.headers.message_id,
        email=email if isinstance(email, str) else None,
        recipient=data.recipient,
        detail=Detail(
            reason=status.description or status.message or data.reject.reason or data.reason or None,
            code=_code(status),
            bounce=bounce,
            url=data.url,
            user_agent=data.client_info.user_agent if data.client_info else None,
            ip=data.ip,
            tags=tuple(data.tags or ()),
        ),
    )
    return (event,)


def _failure(data: wire.EventData) -> tuple[E, BounceKind | None]:
    if data.severity != "permanent":
        return E.DEFERRED, None
    code = _code(data.delivery_status) or ""
    return PERMANENT.get(data.reason or "", (E.BOUNCED, SUBJECTS.get(code[:3], "undetermined")))


def _code(status: wire.Status) -> str | None:
    """The enhanced status code, given or found in the server's words; else the plain one."""
    found = status.enhanced_code or _ENHANCED.search(status.message or "")
    if found:
        return found if isinstance(found, str) else found.group()
    return str(status.code) if status.code else None


def _decode(body: bytes) -> wire.Webhook:
    try:
        return msgspec.json.decode(body, type=wire.Webhook)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.BadAnswer(f"Mailgun sent a webhook that cannot be read: {error}") from error
