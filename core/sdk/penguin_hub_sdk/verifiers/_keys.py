"""Signatures with a provider's public key: SendGrid, Amazon SNS, Google's push messages."""

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from penguin_hub_sdk.verifiers._base import (
    BODY,
    TIMESTAMP,
    Declared,
    Piece,
    Refused,
    any_of,
    content,
    fresh,
    from_base64,
    header,
    refusal,
    same,
    setting,
)
from penguin_hub_sdk.webhooks import InboundRequest


class Ecdsa(Declared, frozen=True, kw_only=True):
    """ECDSA on P-256 with SHA-256, the signature in base64: SendGrid."""

    public_key: str
    """The configuration's field: base64 of the DER key, or PEM."""
    header: str
    timestamp_header: str
    message: tuple[Piece | str, ...] = (TIMESTAMP, BODY)
    tolerance: int = 300

    def prove(self, request: InboundRequest, config: Any) -> None:
        key = _public_key(setting(config, self.public_key))
        signature = from_base64(header(request, self.header))
        timestamp = header(request, self.timestamp_header)
        fresh(request, timestamp, past=self.tolerance, future=self.tolerance)
        try:
            key.verify(signature, content(self.message, request, timestamp, ""), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise Refused("mismatch") from None


class Sns(msgspec.Struct, frozen=True, kw_only=True):
    """Amazon SNS: RSA over named fields, versions 1 (SHA-1) and 2 (SHA-256), with a certificate by URL.

    SNS has no rule of freshness: give `replay_key` (the MessageId) to the Webhook as its `key`.
    """

    topic: str
    """The configuration's field with the topic's ARN: anybody can have Amazon sign a message of a topic of his own."""

    def verify(self, request: InboundRequest, configs: Sequence[Any]) -> None:
        """Refuses: without the certificate nothing can be proved. Use `verify_with`."""
        raise refusal("unconfigured")

    def document_url(self, request: InboundRequest) -> str:
        """Where the certificate is: only at Amazon."""
        try:
            url = _envelope(request).certificate
        except Refused as refused:
            raise refusal(refused.reason) from None
        if not sns_url(url) or not _CERTIFICATE.fullmatch(urlsplit(url).path):
            raise refusal("malformed")
        return url

    def verify_with(self, document: bytes, request: InboundRequest, configs: Sequence[Any]) -> None:
        any_of(configs, lambda config: self._prove(document, request, config))

    def replay_key(self, request: InboundRequest) -> str | None:
        """The MessageId; None when the body has none."""
        try:
            return _envelope(request).id
        except Refused:
            return None

    def _prove(self, document: bytes, request: InboundRequest, config: Any) -> None:
        envelope = _envelope(request)
        if not same(envelope.topic, setting(config, self.topic)):
            raise Refused("mismatch")
        key, signature = _certificate_key(document, request.received_at), from_base64(envelope.signature)
        try:
            key.verify(signature, envelope.content(), padding.PKCS1v15(), _SNS_HASHES[envelope.version])
        except InvalidSignature:
            raise Refused("mismatch") from None


class GooglePush(msgspec.Struct, frozen=True, kw_only=True):
    """Google Cloud Pub/Sub push: an OIDC token (JWT, RS256) of the service account, made for our audience."""

    audience: str
    email: str
    """The configuration's fields: the audience of the subscription, and its service account's address."""

    def verify(self, request: InboundRequest, configs: Sequence[Any]) -> None:
        """Refuses: without Google's keys nothing can be proved. Use `verify_with`."""
        raise refusal("unconfigured")

    def document_url(self, request: InboundRequest) -> str:
        return "https://www.googleapis.com/oauth2/v3/certs"

    def verify_with(self, document: bytes, request: InboundRequest, configs: Sequence[Any]) -> None:
        any_of(configs, lambda config: self._prove(document, request, config))

    def _prove(self, document: bytes, request: InboundRequest, config: Any) -> None:
        audience, email = setting(config, self.audience), setting(config, self.email)
        scheme, _, token = header(request, "authorization").partition(" ")
        parts = token.split(".")
        if scheme.lower() != "bearer" or len(parts) != 3 or len(token) > 8192:
            raise Refused("malformed")
        head, claims = _json(_segment(parts[0]), _JwtHead), _json(_segment(parts[1]), _Claims)
        key = _named_key(document, head.kid)
        signed = f"{parts[0]}.{parts[1]}".encode("ascii")
        try:
            key.verify(_segment(parts[2]), signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise Refused("mismatch") from None
        now = request.received_at.timestamp()
        if not (claims.iat - 60 <= now <= claims.exp + 60):
            raise Refused("stale")
        right = claims.iss in _GOOGLE and claims.email_verified
        if not (right and same(claims.aud, audience) and same(claims.email, email)):
            raise Refused("mismatch")


def sns_url(url: str) -> bool:
    """Whether a URL is of SNS itself (its certificates, its SubscribeURL)."""
    try:
        parts = urlsplit(url)
        odd = parts.port is not None or "@" in parts.netloc
    except ValueError:
        return False
    return parts.scheme == "https" and not odd and _SNS_HOST.fullmatch(parts.netloc) is not None


_SNS_HOST: Final = re.compile(r"sns\.[a-z0-9-]{1,40}\.amazonaws\.com(\.cn)?")
_CERTIFICATE: Final = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]{1,64}\.pem")
_SNS_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "1": hashes.SHA1(),  # noqa: S303 - SNS's own version 1; version 2 is chosen when the topic is set up
    "2": hashes.SHA256(),
}
_NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED_FIELDS: Final = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
_GOOGLE: Final = frozenset({"https://accounts.google.com", "accounts.google.com"})


class _Envelope(msgspec.Struct):
    fields: dict[str, str]

    @property
    def id(self) -> str:
        return self.fields["MessageId"]

    @property
    def topic(self) -> str:
        return self.fields["TopicArn"]

    @property
    def version(self) -> str:
        return self.fields["SignatureVersion"]

    @property
    def signature(self) -> str:
        return self.fields["Signature"]

    @property
    def certificate(self) -> str:
        return self.fields["SigningCertURL"]

    def content(self) -> bytes:
        names = _SIGNED_FIELDS[self.fields["Type"]]
        text = "".join(f"{name}\n{self.fields[name]}\n" for name in names if name in self.fields)
        return text.encode("utf-8", "replace")


_ALWAYS: Final = (
    "Message",
    "MessageId",
    "Timestamp",
    "TopicArn",
    "Type",
    "Signature",
    "SignatureVersion",
    "SigningCertURL",
)


def _envelope(request: InboundRequest) -> _Envelope:
    document = _json(request.body, dict[str, Any])
    fields = {name: value for name, value in document.items() if isinstance(value, str)}
    if not all(name in fields for name in _ALWAYS):
        raise Refused("missing")
    if fields["Type"] not in _SIGNED_FIELDS or fields["SignatureVersion"] not in _SNS_HASHES:
        raise Refused("malformed")
    return _Envelope(fields)


class _JwtHead(msgspec.Struct, tag_field="alg", tag="RS256"):
    """Another algorithm than RS256 (`none`, HS256 with the public key) does not decode."""

    kid: str


class _Claims(msgspec.Struct):
    iss: str
    aud: str
    email: str
    email_verified: bool
    iat: int
    exp: int


class _Jwk(msgspec.Struct):
    kid: str
    kty: str
    n: str = ""
    e: str = ""


class _Jwks(msgspec.Struct):
    keys: list[_Jwk]


def _named_key(document: bytes, kid: str) -> rsa.RSAPublicKey:
    for key in _json(document, _Jwks).keys:
        if key.kid == kid and key.kty == "RSA":
            try:
                return rsa.RSAPublicNumbers(_number(key.e), _number(key.n)).public_key()
            except (ValueError, OverflowError):
                raise Refused("unconfigured") from None
    raise Refused("mismatch")


def _number(text: str) -> int:
    return int.from_bytes(_segment(text), "big")


def _segment(text: str) -> bytes:
    """base64url without padding, as in RFC 7515."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise Refused("malformed")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise Refused("malformed") from None


def _json(raw: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("malformed") from None


@lru_cache(maxsize=256)
def _public_key(text: str) -> ec.EllipticCurvePublicKey:
    try:
        if text.lstrip().startswith("-----BEGIN"):
            key = serialization.load_pem_public_key(text.encode("ascii", "replace"))
        else:
            key = serialization.load_der_public_key(from_base64(text.strip(), "unconfigured"))
    except (ValueError, UnsupportedAlgorithm):
        raise Refused("unconfigured") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused("unconfigured")
    return key


def _certificate_key(document: bytes, now: datetime) -> rsa.RSAPublicKey:
    try:
        certificate = x509.load_pem_x509_certificate(document)
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise Refused("unconfigured") from None
    valid = certificate.not_valid_before_utc <= now.astimezone(UTC) <= certificate.not_valid_after_utc
    if not valid or not isinstance(key, rsa.RSAPublicKey):
        raise Refused("unconfigured")
    return key
