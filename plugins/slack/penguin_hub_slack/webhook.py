"""What Slack sends: the handshake, and events, none of which is one of ours."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from penguin_hub_sdk import Answer, E, InboundRequest, ProviderEvent, errors

from penguin_hub_slack import wire


def answer(request: InboundRequest) -> Answer | None:
    """url_verification: Slack wants its challenge back before it sends anything."""
    callback = _read(request)
    if callback is None or callback.type != "url_verification" or callback.challenge is None:
        return None
    return Answer(body=callback.challenge.encode())


def normalise(request: InboundRequest) -> Iterable[ProviderEvent]:
    """Everything is kept as unknown: a command or a button (a form) as well."""
    callback = _read(request)
    if callback is None:
        if not _is_form(request):
            raise errors.BadAnswer("Slack sent a request that is neither JSON nor a form.")
        return (_unknown("form", request, None, None),)
    raw_type = callback.event.type if callback.event else callback.type
    return (_unknown(raw_type, request, callback.event_id, callback.event_time),)


def event_id(request: InboundRequest) -> str | None:
    """Slack gives a repeated event the id it had."""
    callback = _read(request)
    return callback.event_id if callback else None


def _unknown(raw_type: str, request: InboundRequest, key: str | None, at: int | None) -> ProviderEvent:
    return ProviderEvent(
        type=E.UNKNOWN,
        raw_type=raw_type,
        at=request.received_at if at is None else datetime.fromtimestamp(at, UTC),
        key=key or hashlib.sha256(request.body).hexdigest(),
    )


def _read(request: InboundRequest) -> wire.Callback | None:
    try:
        return msgspec.json.decode(request.body, type=wire.Callback)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_form(request: InboundRequest) -> bool:
    return (request.header("content-type") or "").lower().startswith("application/x-www-form-urlencoded")
