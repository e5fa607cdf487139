"""Envelope encryption: a key-encryption key wraps each tenant's data key, a data key seals the tenant's secrets.

AES-256-GCM with random 96-bit nonces throughout (NIST SP 800-38D: at most 2**32 messages under one key; a data key is
replaced after ROTATE_AT). Everything sealed is bound to its place by what is authenticated with it, so a row moved to
another tenant, path or version, or put back from an earlier state, does not open.
"""

import secrets
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penguin_hub.platform import ids
from penguin_hub.vault.errors import SecretDamaged
from penguin_hub.vault.keyfile import Kek

SCHEME: Final = "pm1"
NONCE_BYTES: Final = 12
ROTATE_AT: Final = 2**30


class Sealed(msgspec.Struct, frozen=True):
    """A ciphertext with its tag at the end, and the nonce it was made with."""

    nonce: bytes
    ciphertext: bytes


class DataKey:
    """One tenant's data key, unwrapped."""

    def __init__(self, tenant: str, key_id: str, raw: bytes) -> None:
        self.tenant = tenant
        self.id = key_id
        self._raw = raw
        self._cipher = AESGCM(raw)

    def __repr__(self) -> str:
        return f"DataKey({self.id})"

    @classmethod
    def new(cls, tenant: str) -> "DataKey":
        return cls(tenant, ids.new("dek"), secrets.token_bytes(32))

    @classmethod
    def unwrapped(cls, tenant: str, key_id: str, kek: Kek, sealed: Sealed) -> "DataKey":
        """Raises SecretDamaged when this was not wrapped by `kek`, for this tenant, under this id."""
        return cls(tenant, key_id, _open(AESGCM(kek.raw), sealed, _about_key(tenant, key_id, kek)))

    def wrapped(self, kek: Kek) -> Sealed:
        return _seal(AESGCM(kek.raw), self._raw, _about_key(self.tenant, self.id, kek))

    def seal(self, path: str, version: int, plaintext: bytes) -> Sealed:
        return _seal(self._cipher, plaintext, self._about(path, version))

    def open(self, path: str, version: int, sealed: Sealed) -> bytes:
        """Raises SecretDamaged when this was not sealed by this key for this place."""
        return _open(self._cipher, sealed, self._about(path, version))

    def seal_head(self, path: str, current: int) -> Sealed:
        """Vouches that `current` is the latest version of `path`: lowering the number in the table does not do."""
        return _seal(self._cipher, b"", self._about(path, current, "head"))

    def open_head(self, path: str, current: int, sealed: Sealed) -> None:
        """Raises SecretDamaged when `current` is not what was vouched for."""
        _open(self._cipher, sealed, self._about(path, current, "head"))

    def _about(self, path: str, version: int, *what: str) -> bytes:
        # Tenants, paths and ids hold no `|` (see vault.paths), so two places never read the same.
        return "|".join((SCHEME, self.tenant, path, str(version), self.id, *what)).encode()


def _about_key(tenant: str, key_id: str, kek: Kek) -> bytes:
    return "|".join((SCHEME, "dek", tenant, key_id, kek.id)).encode()


def _seal(cipher: AESGCM, plaintext: bytes, about: bytes) -> Sealed:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return Sealed(nonce, cipher.encrypt(nonce, plaintext, about))


def _open(cipher: AESGCM, sealed: Sealed, about: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed.nonce, sealed.ciphertext, about)
    except (InvalidTag, ValueError):
        raise SecretDamaged("A stored secret does not decrypt: altered, moved or sealed by another key.") from None
