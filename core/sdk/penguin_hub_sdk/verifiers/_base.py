"""What the verifiers share: the pieces of a signed message, timestamps, comparison, and the one way to refuse."""

import base64
import binascii
import hmac
import re
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any, Final, Literal

import msgspec

from penguin_hub_sdk.config import Secret
from penguin_hub_sdk.errors import SignatureInvalid
from penguin_hub_sdk.webhooks import DocumentVerifier, InboundRequest, Verifier

Reason = Literal["unconfigured", "missing", "malformed", "stale", "mismatch"]
Fetch = Callable[[str], Awaitable[bytes]]
"""Gets a document (a certificate, a key set) by its https URL; the hub's is vetted and remembers."""

MOST_SIGNATURES: Final = 20
"""More than this in one header is an attack on our time, not a rotation."""

_SENTENCES: Final[dict[Reason, str]] = {
    "unconfigured": "The connection has no usable secret for this provider's webhooks.",
    "missing": "The request is not signed.",
    "malformed": "The signature cannot be read.",
    "stale": "The request's timestamp is too far from now.",
    "mismatch": "The signature is not the provider's.",
}
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,15}")


class Piece(Enum):
    """A part of the message that a provider signs."""

    BODY = "body"
    TIMESTAMP = "timestamp"
    METHOD = "method"
    URL = "url"
    URL_DECODED = "url, with the characters decoded that HubSpot decodes"
    SECRET = "secret"  # noqa: S105 - for plain hashes, which have the secret in the message


BODY: Final = Piece.BODY
TIMESTAMP: Final = Piece.TIMESTAMP
METHOD: Final = Piece.METHOD
URL: Final = Piece.URL
URL_DECODED: Final = Piece.URL_DECODED
SECRET: Final = Piece.SECRET


class Refused(Exception):
    """Inside this package: why one configuration does not prove the request."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the verifiers that need nothing but the request and the settings."""

    def verify(self, request: InboundRequest, configs: Sequence[Any]) -> None:
        """See `webhooks.Verifier`."""
        any_of(configs, lambda config: self.prove(request, config))

    def prove(self, request: InboundRequest, config: Any) -> None:
        """Raise Refused unless this one configuration proves the request."""
        raise NotImplementedError

    def signed(self, request: InboundRequest, config: Any) -> InboundRequest:
        """The request as the provider would send it, at its `received_at`: for tests."""
        raise NotImplementedError


async def verify(verifier: Verifier, request: InboundRequest, configs: Sequence[Any], fetch: Fetch) -> None:
    """Verify with whatever the verifier needs. Raises SignatureInvalid, and what `fetch` raises."""
    if isinstance(verifier, DocumentVerifier):
        document = await fetch(verifier.document_url(request))
        verifier.verify_with(document, request, configs)
    else:
        verifier.verify(request, configs)


def any_of(configs: Sequence[Any], prove: Callable[[Any], None]) -> None:
    """Raise SignatureInvalid unless one configuration proves the request; the reason told is the current one's."""
    reason: Reason = "unconfigured"
    for number, config in enumerate(configs):
        try:
            prove(config)
        except Refused as refused:
            reason = refused.reason if number == 0 else reason
        else:
            return
    raise refusal(reason)


def refusal(reason: Reason) -> SignatureInvalid:
    return SignatureInvalid(_SENTENCES[reason], code=reason)


def setting(config: Any, name: str) -> str:
    """A setting's text, secret or not. Raises Refused when it is not filled in: no secret, no entry."""
    value = getattr(config, name, None)
    text = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(text, str) or not text:
        raise Refused("unconfigured")
    return text


def header(request: InboundRequest, name: str) -> str:
    value = request.header(name)
    if value is None:
        raise Refused("missing")
    return value


def fresh(request: InboundRequest, timestamp: str, *, past: int, future: int, unit: int = 1) -> int:
    """A canonical Unix timestamp, in units of 1/`unit` seconds, neither too old nor too new."""
    if not _NUMBER.fullmatch(timestamp):
        raise Refused("malformed")
    moment = int(timestamp) / unit
    if not -future <= request.received_at.timestamp() - moment <= past:
        raise Refused("stale")
    return int(timestamp)


def same(given: str, expected: str) -> bool:
    """In constant time; odd characters are just different."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))


def from_base64(text: str, reason: Reason = "malformed") -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise Refused(reason) from None


def replaced(request: InboundRequest, *pairs: tuple[str, str]) -> InboundRequest:
    """The request with these headers instead of its own of the same name."""
    names = {name for name, _ in pairs}
    kept = tuple(pair for pair in request.headers if pair[0] not in names)
    return msgspec.structs.replace(request, headers=kept + pairs)


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


# HubSpot signs the URL with these, and only these, decoded ("Validate requests", v3).
_HUBSPOT: Final = {
    "%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'", "%28": "(", "%29": ")",
    "%2A": "*", "%2C": ",", "%3B": ";",
}  # fmt: skip
_HUBSPOT_CODES: Final = re.compile("|".join(_HUBSPOT), re.IGNORECASE)

_PIECES: Final[dict[Piece, Callable[[InboundRequest], bytes]]] = {
    Piece.BODY: lambda request: request.body,
    Piece.METHOD: lambda request: to_bytes(request.method),
    Piece.URL: lambda request: to_bytes(request.url),
    Piece.URL_DECODED: lambda request: to_bytes(
        _HUBSPOT_CODES.sub(lambda found: _HUBSPOT[found[0].upper()], request.url)
    ),
}


def content(message: tuple[Piece | str, ...], request: InboundRequest, timestamp: str, secret: str) -> bytes:
    own = {TIMESTAMP: timestamp, SECRET: secret}
    return b"".join(
        to_bytes(piece) if isinstance(piece, str) else to_bytes(own[piece]) if piece in own else _PIECES[piece](request)
        for piece in message
    )
