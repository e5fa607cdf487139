"""Client certificates: what is taken, and what is said of what is not."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from penguin_hub.delivery import identity
from penguin_hub.delivery.identity import IdentityInvalid
from support.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def pem(key: rsa.RSAPrivateKey | dsa.DSAPrivateKey, password: bytes | None = None) -> str:
    encryption = (
        serialization.BestAvailableEncryption(password) if password is not None else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def test_a_certificate_with_its_key_is_taken_without_touching_a_disk(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.client()
    identity.check(certificate, key)
    before = sorted(tmp_path.iterdir())
    identity.present(ssl.create_default_context(), certificate, key)
    assert sorted(tmp_path.iterdir()) == before


def test_what_does_not_fit_is_refused_with_a_reason(authority: Authority) -> None:
    certificate, key = authority.client()
    other = authority.client()[1]
    stale, stale_key = authority.client(expired=True)
    strong = rsa.generate_private_key(65537, 2048)
    for chain, private, reason in (
        ("nonsense", key, "not a chain"),
        ("", key, "not a chain"),
        (certificate, "nonsense", "not one in PEM"),
        (certificate, certificate, "not one in PEM"),
        (certificate, other, "does not belong"),
        (stale, stale_key, "no longer valid"),
        (certificate, pem(strong, b"secret"), "encrypted"),
        (certificate, pem(rsa.generate_private_key(65537, 1024)), "2048"),  # noqa: S505 -- it is to be refused
        (certificate, pem(dsa.generate_private_key(2048)), "elliptic curve"),
    ):
        with pytest.raises(IdentityInvalid, match=reason) as raised:
            identity.check(chain, private)
        assert private[:40] not in str(raised.value)


def test_openssl_is_never_left_asking_a_terminal_for_a_passphrase(authority: Authority) -> None:
    certificate, _ = authority.client()
    encrypted = pem(rsa.generate_private_key(65537, 2048), b"secret")
    with pytest.raises(IdentityInvalid):
        identity.present(ssl.create_default_context(), certificate, encrypted)
