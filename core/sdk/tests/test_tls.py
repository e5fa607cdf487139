"""Certificates, with an authority of our own: whom `ctx.http` talks to, and whom it tells nothing."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from penguin_hub_sdk import errors, http
from penguin_hub_sdk.addresses import networks
from penguin_hub_sdk.http import Http, HttpPolicy
from penguin_hub_sdk.manifest import Manifest

NAME = "api.acme.test"
NOW = dt.datetime.now(dt.UTC)


def _issue(name: str, days: int, signer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None) -> tuple[bytes, bytes]:
    """Certificate and key, both PEM; without a signer an authority's own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, issuer_key = signer or (subject, key)
    alternatives: list[x509.GeneralName] = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.9"))]
    built = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - dt.timedelta(days=30))
        .not_valid_after(NOW + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return built.public_bytes(serialization.Encoding.PEM), private


class Authority:
    def __init__(self) -> None:
        self.certificate, private = _issue("Test Authority", 30, None)
        key = serialization.load_pem_private_key(private, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._signer = (x509.load_pem_x509_certificate(self.certificate).subject, key)

    def issue(self, folder: Path, name: str = NAME, days: int = 30) -> ssl.SSLContext:
        certificate, private = _issue(name, days, self._signer)
        (folder / "server.pem").write_bytes(certificate + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        return context


@asynccontextmanager
async def provider(context: ssl.SSLContext) -> AsyncIterator[tuple[int, list[bytes], list[str | None]]]:
    """A server on 127.0.0.1: its port, what it read after the handshake, the names it was asked for."""
    read: list[bytes] = []
    names: list[str | None] = []
    context.sni_callback = lambda _object, name, _context: names.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield running.sockets[0].getsockname()[1], read, names
    finally:
        running.close()


@pytest.fixture
async def authority(monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The process trusts it, and every name is on 127.0.0.1, which the operator has opened."""
    made = Authority()
    trusting = http._tls.__wrapped__()
    trusting.load_verify_locations(cadata=made.certificate.decode())
    monkeypatch.setattr(http, "_tls", lambda: trusting)

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return made


async def call(port: int) -> bytes:
    manifest = Manifest(
        id="acme", name="Acme", version="1.0.0", category="email", summary="x", hosts=(f"{NAME}:{port}",)
    )
    client = Http(HttpPolicy.of(manifest, None, allow=networks(["127.0.0.0/8"])))
    try:
        return (await client.get(f"https://{NAME}:{port}/secret-path", retry=False)).body
    finally:
        await client.aclose()


async def test_w43_a_name_that_rebinds_is_connected_to_where_it_was_vetted(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second look-up would lead elsewhere: there is none."""
    answers = ["127.0.0.1", "127.0.0.8", "127.0.0.8"]

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (answers.pop(0), port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with provider(authority.issue(tmp_path)) as (port, _, _):
        assert await call(port) == b"ok"
    assert len(answers) == 2


async def test_the_name_is_proved_although_the_address_is_pinned(authority: Authority, tmp_path: Path) -> None:
    async with provider(authority.issue(tmp_path)) as (port, read, names):
        assert await call(port) == b"ok"
    assert names == [NAME]
    assert f"host: {NAME}:{port}".encode() in read[0].lower()


@pytest.mark.parametrize(("name", "days"), [("other.test", 30), ("127.0.0.1", 30), (NAME, -1)])
async def test_w15_a_wrong_or_old_certificate(authority: Authority, tmp_path: Path, name: str, days: int) -> None:
    async with provider(authority.issue(tmp_path, name, days)) as (port, read, _):
        with pytest.raises(errors.NetworkFailed, match="TLS"):
            await call(port)
    assert read == []


async def test_w15_an_unknown_authority(authority: Authority, tmp_path: Path) -> None:
    async with provider(Authority().issue(tmp_path)) as (port, read, _):
        with pytest.raises(errors.NetworkFailed, match="TLS"):
            await call(port)
    assert read == []
