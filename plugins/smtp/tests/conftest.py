"""SMTP servers on the loopback, real ones (aiosmtpd) and scripted ones, and a certificate authority of our own."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from penguin_hub_sdk.addresses import networks
from penguin_hub_sdk.config import decode
from penguin_hub_sdk.tcp import Tcp
from penguin_hub_sdk.testing import context
from penguin_hub_smtp import Smtp, hub_plugin

Serve = Callable[..., Awaitable[int]]
Connect = Callable[..., Smtp]


class Mailbox:
    """What a server got. `replies` says no to a recipient, to MAIL or to DATA."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.mails: list[tuple[str, list[str]]] = []
        self.logins: list[tuple[str, bytes, bool]] = []
        self.replies: dict[str, str] = {}
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.quiet = asyncio.Event()
        """Set while no connection is open."""
        self.quiet.set()

    def content(self) -> bytes:
        """Of the one message that came. (A method: aiosmtpd reads every attribute of its handler.)"""
        (envelope,) = self.envelopes
        assert isinstance(envelope.content, bytes)
        return envelope.content

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.mails.append((address, options))
        envelope.mail_from = address
        return self.replies.get("MAIL", "250 OK")

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = self.replies.get(address, "250 OK")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        reply = self.replies.get("DATA", "250 2.0.0 queued")
        if reply.startswith("250"):
            self.envelopes.append(envelope)
        return reply

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        assert isinstance(server, Server)
        self.logins.append((mechanism, data.login, server.encrypted))
        return AuthResult(success=(data.login, data.password) == (b"hub", b"s3cret-pass"), handled=False)


class Server(SMTP):
    """aiosmtpd, counting its connections."""

    def __init__(self, mailbox: Mailbox, **options: Any) -> None:
        super().__init__(mailbox, hostname="mail.example.com", ident="test", **options)
        self.mailbox = mailbox
        self.counted = False

    @property
    def encrypted(self) -> bool:
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self.counted:  # STARTTLS calls this a second time
            self.counted = True
            self.mailbox.connections += 1
            self.mailbox.open += 1
            self.mailbox.quiet.clear()
            self.mailbox.most_open = max(self.mailbox.most_open, self.mailbox.open)

    def connection_lost(self, error: Exception | None) -> None:
        self.mailbox.open -= 1
        if not self.mailbox.open:
            self.mailbox.quiet.set()
        super().connection_lost(error)


class Certificates:
    """An authority and the two servers it vouches for: one is 127.0.0.1, the other is not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self.ca = self._pem(self._sign(self._name, self._key, ca=True))
        self.here = self._server("here", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        self.elsewhere = self._server("elsewhere", x509.DNSName("elsewhere.example.com"))

    def _server(self, name: str, alternative: x509.GeneralName) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        path = self._folder / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + self._pem(self._sign(subject, key, alternative)).encode()
        )
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found.load_cert_chain(path)
        return found

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        alternative: x509.GeneralName | None = None,
        *,
        ca: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if alternative is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    @staticmethod
    def _pem(certificate: x509.Certificate) -> str:
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as found:
        yield found


@pytest.fixture
def serve(stack: AsyncExitStack, mailbox: Mailbox) -> Serve:
    """Starts an aiosmtpd and gives its port: `await serve(tls=context, require_starttls=True, ...)`."""

    async def start(*, tls: ssl.SSLContext | None = None, **options: Any) -> int:
        loop = asyncio.get_running_loop()
        made: list[Server] = []
        options = {"timeout": 30, **options}

        def factory() -> Server:
            made.append(Server(mailbox, loop=loop, **options))
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=tls)

        async def stop() -> None:
            server.close()
            for one in made:
                if one.transport is not None:
                    one.transport.close()
            async with asyncio.timeout(5):
                await mailbox.quiet.wait()

        stack.push_async_callback(stop)
        return int(server.sockets[0].getsockname()[1])

    return start


@pytest.fixture
def script(stack: AsyncExitStack) -> Serve:
    """Starts a server that says its lines, one for each command it reads, and hangs up at the end of them."""

    async def start(*lines: str) -> int:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for line in lines:
                writer.write(line.encode("utf-8", "surrogateescape") + b"\r\n")
                await reader.readline()
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        stack.callback(server.close)
        return int(server.sockets[0].getsockname()[1])

    return start


@pytest.fixture
def connect(stack: AsyncExitStack) -> Connect:
    """A connector to a server on this machine; without further settings it speaks in the clear."""

    def make(port: int, **settings: Any) -> Smtp:
        plugin = hub_plugin()
        config = decode(plugin.config, {"host": "127.0.0.1", "port": port, "security": "none", **settings})
        net = Tcp(plugin.manifest, config, allow=networks(["127.0.0.1/32"]))
        connector = Smtp(context(plugin, config, net=net))
        stack.push_async_callback(connector.aclose)
        return connector

    return make
