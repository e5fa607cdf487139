"""Signatures with a shared secret."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from email.parser import BytesParser
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

import msgspec
from cryptography.exceptions import InvalidSignature

from penguin_hub_sdk import signing
from penguin_hub_sdk.verifiers._base import (
    BODY,
    MOST_SIGNATURES,
    SECRET,
    TIMESTAMP,
    Declared,
    Piece,
    Refused,
    content,
    fresh,
    from_base64,
    header,
    replaced,
    same,
    setting,
    to_bytes,
)
from penguin_hub_sdk.webhooks import InboundRequest

Encoding = Literal["hex", "base64"]
Algorithm = Literal["sha1", "sha256", "sha512"]
KeyFormat = Literal["text", "hex", "base64"]

_ENCODERS: Final[dict[Encoding, Callable[[bytes], str]]] = {
    "hex": bytes.hex,
    "base64": lambda digest: base64.b64encode(digest).decode("ascii"),
}
_UNITS: Final = {"s": 1, "ms": 1000}


class Hmac(Declared, frozen=True, kw_only=True):
    """HMAC over a message that is put together from pieces: Slack, Stripe, Paddle, Close, HubSpot, Stalwart, GitHub."""

    secret: str
    """The configuration's field, as are all such names."""
    header: str
    message: tuple[Piece | str, ...] = (BODY,)
    prefix: str = ""
    """What stands before the signature in its header: `v0=`, `sha256=`."""
    encoding: Encoding = "hex"
    algorithm: Algorithm = "sha256"
    key: KeyFormat = "text"
    timestamp_header: str | None = None
    unit: Literal["s", "ms"] = "s"
    tolerance: int = 300
    """Seconds in both directions."""
    pairs: str | None = None
    """The separator when the header is a list of `name=value`: `,` at Stripe, `;` at Paddle."""
    timestamp_name: str = "t"
    signature_name: str = "v1"
    """The names in that list; a name may come more than once while a secret is being changed."""

    def __post_init__(self) -> None:
        if TIMESTAMP in self.message and self.timestamp_header is None and self.pairs is None:
            raise ValueError("TIMESTAMP is signed: say where it comes from with timestamp_header or pairs")
        if SECRET in self.message:
            raise ValueError("SECRET belongs into a Digest; an HMAC has it as its key")

    def prove(self, request: InboundRequest, config: Any) -> None:
        key = _key(setting(config, self.secret), self.key)
        timestamp, signatures = self._read(request)
        if timestamp is not None:
            fresh(request, timestamp, past=self.tolerance, future=self.tolerance, unit=_UNITS[self.unit])
        expected = self._sign(key, request, timestamp)
        if not any(same(given, expected) for given in signatures):
            raise Refused("mismatch")

    def signed(self, request: InboundRequest, config: Any) -> InboundRequest:
        timestamp = str(int(request.received_at.timestamp() * _UNITS[self.unit]))
        value = self._sign(_key(setting(config, self.secret), self.key), request, timestamp)
        if self.pairs is not None:
            value = f"{self.timestamp_name}={timestamp}{self.pairs}{self.signature_name}={value}"
        request = replaced(request, (self.header, self.prefix + value))
        return replaced(request, (self.timestamp_header, timestamp)) if self.timestamp_header else request

    def _read(self, request: InboundRequest) -> tuple[str | None, list[str]]:
        """The timestamp, where the scheme has one, and the signatures."""
        value = header(request, self.header)
        if not value.startswith(self.prefix):
            raise Refused("malformed")
        value = value.removeprefix(self.prefix)
        if self.pairs is None:
            return (header(request, self.timestamp_header) if self.timestamp_header else None), [value]
        found: dict[str, list[str]] = {}
        for item in value.split(self.pairs)[: MOST_SIGNATURES + 2]:
            name, _, text = item.partition("=")
            found.setdefault(name, []).append(text)
        timestamps, signatures = found.get(self.timestamp_name, []), found.get(self.signature_name, [])
        if len(timestamps) != 1 or not 0 < len(signatures) <= MOST_SIGNATURES:
            raise Refused("malformed")
        return timestamps[0], signatures

    def _sign(self, key: bytes, request: InboundRequest, timestamp: str | None) -> str:
        message = content(self.message, request, timestamp or "", "")
        return _ENCODERS[self.encoding](hmac.digest(key, message, self.algorithm))


class Digest(Declared, frozen=True, kw_only=True):
    """A plain hash with the secret in the message: HubSpot's v1 and v2. No protection against replay; and whoever
    sees one request can extend it. For providers that have nothing better."""

    secret: str
    header: str
    message: tuple[Piece | str, ...] = (SECRET, BODY)
    algorithm: Algorithm = "sha256"

    def __post_init__(self) -> None:
        if SECRET not in self.message or TIMESTAMP in self.message:
            raise ValueError("a Digest has the SECRET in its message, and no TIMESTAMP")

    def prove(self, request: InboundRequest, config: Any) -> None:
        if not same(header(request, self.header), self._digest(request, config)):
            raise Refused("mismatch")

    def signed(self, request: InboundRequest, config: Any) -> InboundRequest:
        return replaced(request, (self.header, self._digest(request, config)))

    def _digest(self, request: InboundRequest, config: Any) -> str:
        return hashlib.new(self.algorithm, content(self.message, request, "", setting(config, self.secret))).hexdigest()


class StandardWebhooks(Declared, frozen=True, kw_only=True):
    """Standard Webhooks 1.0, HMAC (`whsec_`, or its bare base64) or ed25519 (`whpk_`): Loops, Svix and many others."""

    secret: str
    prefix: str = "webhook"
    """The headers are `{prefix}-id`, `{prefix}-timestamp`, `{prefix}-signature`; Svix also has `svix`."""
    tolerance: int = 300

    def prove(self, request: InboundRequest, config: Any) -> None:
        check = _checker(setting(config, self.secret))
        message_id = header(request, f"{self.prefix}-id")
        timestamp = header(request, f"{self.prefix}-timestamp")
        items = header(request, f"{self.prefix}-signature").split(" ")
        if not signing.valid_message_id(message_id) or len(items) > MOST_SIGNATURES:
            raise Refused("malformed")
        if not all(_STANDARD_ITEM.fullmatch(item) for item in items):
            raise Refused("malformed")
        fresh(request, timestamp, past=self.tolerance, future=self.tolerance)
        content = b"%b.%b.%b" % (message_id.encode("ascii"), timestamp.encode("ascii"), request.body)
        if not any(check(item, content) for item in items):
            raise Refused("mismatch")

    def signed(self, request: InboundRequest, config: Any) -> InboundRequest:
        secret = setting(config, self.secret)
        signer = signing.parse(secret if "_" in secret else signing.HMAC_PREFIX + secret)
        message_id = request.header(f"{self.prefix}-id") or "msg_test"
        found = signing.headers([signer], message_id, int(request.received_at.timestamp()), request.body)
        return replaced(request, *((f"{self.prefix}{name.removeprefix('webhook')}", v) for name, v in found.items()))


class MailgunSignature(Declared, frozen=True, kw_only=True):
    """Mailgun: timestamp, token and signature stand in the body (JSON, or a form for inbound routes), and the rest of
    the body is not signed. So a token must work only once: give `replay_key` to the Webhook as its `key`."""

    secret: str
    tolerance: int = 12 * 3600
    """Seconds into the past: Mailgun repeats a request for about eight hours. Into the future it is five minutes."""

    def prove(self, request: InboundRequest, config: Any) -> None:
        key = to_bytes(setting(config, self.secret))
        triple = _mailgun(request)
        fresh(request, triple.timestamp, past=self.tolerance, future=300)
        expected = hmac.digest(key, to_bytes(triple.timestamp + triple.token), "sha256").hex()
        # The second signature is the primary account's, for events of its subaccounts.
        if not same(triple.signature, expected) and not same(triple.parent, expected):
            raise Refused("mismatch")

    def replay_key(self, request: InboundRequest) -> str | None:
        """The token; None when the body has none."""
        try:
            return _mailgun(request).token
        except Refused:
            return None

    def signed(self, request: InboundRequest, config: Any) -> InboundRequest:
        """Only for JSON bodies: the triple is put into the object."""
        timestamp = str(int(request.received_at.timestamp()))
        token = hashlib.sha256(request.body).hexdigest()[:50]
        digest = hmac.digest(to_bytes(setting(config, self.secret)), to_bytes(timestamp + token), "sha256").hex()
        body = msgspec.json.decode(request.body, type=dict[str, Any])
        body["signature"] = {"timestamp": timestamp, "token": token, "signature": digest}
        return msgspec.structs.replace(request, body=msgspec.json.encode(body))


class _Triple(msgspec.Struct):
    timestamp: str
    token: str
    signature: str
    parent: str = msgspec.field(name="parent-signature", default="")


class _MailgunBody(msgspec.Struct):
    signature: _Triple


_STANDARD_ITEM: Final = re.compile(r"v[0-9]{1,2}[a-z]?,[A-Za-z0-9+/=]{1,200}")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,200}")


def _mailgun(request: InboundRequest) -> _Triple:
    kind = (request.header("content-type") or "application/json").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            triple = msgspec.json.decode(request.body, type=_MailgunBody, strict=False).signature
        else:
            triple = msgspec.convert(_form(request, kind), _Triple)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Refused("malformed") from None
    if not _TOKEN.fullmatch(triple.token):
        raise Refused("malformed")
    return triple


def _form(request: InboundRequest, kind: str) -> dict[str, str]:
    """The small text fields of a form. Raises Refused."""
    if kind == "application/x-www-form-urlencoded":
        try:
            return dict(parse_qsl(request.body.decode("latin-1"), max_num_fields=1000))
        except ValueError:
            raise Refused("malformed") from None
    if kind != "multipart/form-data":
        raise Refused("malformed")
    head = f"Content-Type: {request.header('content-type')}\r\n\r\n"
    message = BytesParser().parsebytes(head.encode("latin-1", "replace") + request.body)
    found = {}
    for part in message.walk():
        name, content = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes) and len(content) < 1000:
            found[name] = content.decode("latin-1")
    return found


def _checker(secret: str) -> Callable[[str, bytes], bool]:
    """What compares one item of the signature header."""
    try:
        if secret.startswith(signing.PUBLIC_PREFIX):
            key = signing.parse_public(secret)
            return lambda item, content: _ed25519(key, item, content)
        # Only the sender decides how long a secret is; here any will do.
        raw = from_base64(secret.removeprefix(signing.HMAC_PREFIX), "unconfigured")
    except signing.SecretInvalid:
        raise Refused("unconfigured") from None
    if not raw:
        raise Refused("unconfigured")
    signer = signing.HmacSigner(raw)
    return lambda item, content: same(item, signer.sign(content))


def _ed25519(key: Any, item: str, content: bytes) -> bool:
    version, _, text = item.partition(",")
    if version != "v1a":
        return False
    try:
        key.verify(base64.b64decode(text, validate=True), content)
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _key(secret: str, form: KeyFormat) -> bytes:
    if form == "text":
        return to_bytes(secret)
    if form == "base64":
        return from_base64(secret, "unconfigured")
    try:
        return bytes.fromhex(secret)
    except ValueError:
        raise Refused("unconfigured") from None
