"""Signatures by Standard Webhooks 1.0, for those who send: HMAC-SHA256 (`v1`) and ed25519 (`v1a`), several at once.

A message is signed as `id.timestamp.body` over the exact bytes of the body. During a rotation the header holds one
signature for each secret, the newest first, and a receiver is content with any of them.
"""

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

HMAC_PREFIX: Final = "whsec_"
PRIVATE_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"
SHORTEST: Final = 24
LONGEST: Final = 64
"""Bytes of an HMAC secret, decoded."""

_MESSAGE_ID: Final = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,256}")


class SecretInvalid(ValueError):
    """Not a signing secret. The text says why, and holds nothing of it."""


class Signer(Protocol):
    """One secret, ready to sign."""

    def sign(self, content: bytes) -> str:
        """`v1,<base64>` or `v1a,<base64>`."""
        ...


class HmacSigner:
    """A `whsec_` secret."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, content: bytes) -> str:
        return "v1," + binascii.b2a_base64(hmac.digest(self._key, content, "sha256"), newline=False).decode("ascii")

    def __repr__(self) -> str:
        return "HmacSigner(...)"


class Ed25519Signer:
    """A `whsk_` key."""

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, content: bytes) -> str:
        return "v1a," + binascii.b2a_base64(self._key.sign(content), newline=False).decode("ascii")

    def public(self) -> str:
        """What receivers get: `whpk_...`."""
        return PUBLIC_PREFIX + _encode(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.public()})"


def parse(secret: str) -> HmacSigner | Ed25519Signer:
    """A secret from its text. Raises SecretInvalid: prefix, base64, or a length that is not safe or not usual."""
    if secret.startswith(PRIVATE_PREFIX):
        raw = _decode(secret.removeprefix(PRIVATE_PREFIX))
        if len(raw) not in (32, 64):
            raise SecretInvalid("an ed25519 key is 32 bytes of seed, or these and the 32 of the public key")
        key = Ed25519PrivateKey.from_private_bytes(raw[:32])
        if len(raw) == 64 and key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) != raw[32:]:
            raise SecretInvalid("the two halves of the ed25519 key do not belong together")
        return Ed25519Signer(key)
    if not secret.startswith(HMAC_PREFIX):
        raise SecretInvalid(f"a signing secret starts with {HMAC_PREFIX} or {PRIVATE_PREFIX}")
    raw = _decode(secret.removeprefix(HMAC_PREFIX))
    if not SHORTEST <= len(raw) <= LONGEST:
        raise SecretInvalid(f"a signing secret is {SHORTEST} to {LONGEST} bytes of base64 after {HMAC_PREFIX}")
    return HmacSigner(raw)


def parse_public(text: str) -> Ed25519PublicKey:
    """A receiver's `whpk_` key. Raises SecretInvalid."""
    raw = _decode(text.removeprefix(PUBLIC_PREFIX))
    if not text.startswith(PUBLIC_PREFIX) or len(raw) != 32:
        raise SecretInvalid(f"a public key is {PUBLIC_PREFIX} and 32 bytes of base64")
    return Ed25519PublicKey.from_public_bytes(raw)


def new_secret() -> str:
    """A fresh `whsec_` secret of 32 random bytes."""
    return HMAC_PREFIX + _encode(secrets.token_bytes(32))


def new_key() -> str:
    """A fresh `whsk_` key: seed and public key. `parse(...).public()` gives the receivers' part."""
    key = Ed25519PrivateKey.generate()
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return PRIVATE_PREFIX + _encode(seed + key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def valid_message_id(text: str) -> bool:
    """Printable ASCII without a dot, which would let `id.timestamp.body` be cut in two ways; at most 256 characters."""
    return _MESSAGE_ID.fullmatch(text) is not None


def signature(signers: Iterable[Signer], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`. `timestamp` is in Unix seconds."""
    content = b"%b.%d.%b" % (message_id.encode("ascii"), timestamp, body)
    return " ".join(signer.sign(content) for signer in signers)


def headers(signers: Iterable[Signer], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a delivery."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(signers, message_id, timestamp, body),
    }


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise SecretInvalid("what follows the prefix is not base64") from None
