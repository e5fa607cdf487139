"""Client certificates for mutual TLS: checked when they are given, and made into a context of the endpoint's own."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from penguin_hub.platform import clock

MAX_PEM: Final = 16 * 1024
"""Bytes of each PEM text: what the smallest pipe holds (see `_pipe`)."""
_SHORTEST_RSA: Final = 2048


class IdentityInvalid(ValueError):
    """Not a certificate with its key. The text says why, and holds nothing of either."""


def check(certificate: str, private_key: str) -> None:
    """Raises IdentityInvalid: no PEM, an encrypted or weak key, a certificate of another key, or one that is over."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate.encode())[0]
    except ValueError:
        raise IdentityInvalid("the certificate is not a chain in PEM, the client's own first") from None
    try:
        key = load_pem_private_key(private_key.encode(), None)
    except TypeError:
        raise IdentityInvalid("the private key is encrypted; give it without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise IdentityInvalid("the private key is not one in PEM") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise IdentityInvalid("the private key is RSA, of an elliptic curve, or Ed25519")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _SHORTEST_RSA:
        raise IdentityInvalid(f"an RSA key has {_SHORTEST_RSA} bits or more")
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if leaf.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise IdentityInvalid("the first certificate does not belong to the private key")
    if leaf.not_valid_after_utc <= clock.now():
        raise IdentityInvalid("the certificate is no longer valid")


def present(context: ssl.SSLContext, certificate: str, private_key: str) -> ssl.SSLContext:
    """Let a context present a client's certificate. Blocks for milliseconds. Raises IdentityInvalid."""
    with _pipe(certificate) as chain, _pipe(private_key) as key:
        try:
            context.load_cert_chain(chain, key, password="")
        except (ssl.SSLError, OSError, ValueError):
            raise IdentityInvalid("OpenSSL does not take the certificate with its key") from None
    return context


@contextmanager
def _pipe(text: str) -> Iterator[str]:
    """A path that reads as this text, once. `ssl` takes keys from files only, and no key shall lie on a disk."""
    reading, writing = os.pipe()
    try:
        try:
            os.set_blocking(writing, False)
            os.write(writing, text.encode())
        finally:
            os.close(writing)
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
