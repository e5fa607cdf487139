"""Connections to one server: opened, secured, logged in, and used again while they are fresh."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiosmtplib
from penguin_hub_sdk import Context, errors

from penguin_hub_smtp import replies
from penguin_hub_smtp.settings import Settings

CONNECTIONS: Final = 5
IDLE: Final = 10.0
"""Seconds that a connection waits for the next message before it is closed. Servers give up after minutes."""
MESSAGES: Final = 100
"""Messages that go over one connection; many servers allow no more."""
SECONDS: Final = 30.0
"""For the answer to one command."""


class Pool:
    def __init__(self, ctx: Context[Settings]) -> None:
        self._config = ctx.config
        self._net = ctx.net
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._waiting: dict[aiosmtplib.SMTP, asyncio.TimerHandle] = {}
        self._used: dict[aiosmtplib.SMTP, int] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiosmtplib.SMTP]:
        """A connection ready for MAIL. When the block raises, the connection is given up.

        Raises AuthExpired, ConfigInvalid, NotAllowed, ProviderFailed, NetworkFailed.
        """
        async with self._slots:
            smtp = await self._fresh() or await self.open()
            try:
                yield smtp
            except BaseException:
                self._drop(smtp)
                raise
            self._keep(smtp)

    async def aclose(self) -> None:
        """Say goodbye on every connection that waits."""
        for smtp in list(self._waiting):
            self._expire(smtp)
        await asyncio.gather(*self._leaving)

    async def _fresh(self) -> aiosmtplib.SMTP | None:
        """A waiting connection that still answers. The server may have closed it, which says nothing about the next."""
        while self._waiting:
            smtp, timer = self._waiting.popitem()
            timer.cancel()
            try:
                await smtp.rset()
            except (aiosmtplib.SMTPException, OSError):
                self._drop(smtp)
            else:
                return smtp
        return None

    def _keep(self, smtp: aiosmtplib.SMTP) -> None:
        self._used[smtp] = self._used.get(smtp, 0) + 1
        if not smtp.is_connected:
            self._drop(smtp)
        elif self._used[smtp] >= MESSAGES:
            self._leave(smtp)
        else:
            self._waiting[smtp] = asyncio.get_running_loop().call_later(IDLE, self._expire, smtp)

    def _expire(self, smtp: aiosmtplib.SMTP) -> None:
        self._waiting.pop(smtp).cancel()
        self._leave(smtp)

    def _leave(self, smtp: aiosmtplib.SMTP) -> None:
        task = asyncio.create_task(quit_politely(smtp))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        self._used.pop(smtp, None)

    def _drop(self, smtp: aiosmtplib.SMTP) -> None:
        self._used.pop(smtp, None)
        smtp.close()

    async def open(self) -> aiosmtplib.SMTP:
        """A new connection, secured and logged in. Raises as `session` does."""
        config = self._config
        context = await self._context()
        link = await self._net.connect(config.host, config.port)
        smtp = aiosmtplib.SMTP(
            hostname=config.host,
            sock=link,
            use_tls=config.security == "tls",
            start_tls=False,
            tls_context=context,
            local_hostname=_literal(link),
            timeout=SECONDS,
        )
        try:
            await smtp.connect()
            await _hello(smtp)
            await self._secure(smtp)
            await self._login(smtp)
        except BaseException as error:
            smtp.close()  # and with it `link`, which is the transport's from the first moment of connect()
            if isinstance(error, aiosmtplib.SMTPResponseException):
                raise replies.error_of_session(error) from error
            if isinstance(error, aiosmtplib.SMTPException | OSError):
                raise replies.error_of_network(error, config.host) from error
            raise
        return smtp

    async def _secure(self, smtp: aiosmtplib.SMTP) -> None:
        if self._config.security != "starttls":
            return
        if not smtp.supports_extension("starttls"):
            raise errors.ConfigInvalid(
                f"{self._config.host}:{self._config.port} offers no STARTTLS, so nothing was sent. Another port, or "
                "another value for `security`, may be right.",
                field="security",
            )
        await smtp.starttls()
        await _hello(smtp)

    async def _login(self, smtp: aiosmtplib.SMTP) -> None:
        config = self._config
        if config.username is None or config.password is None:
            return
        if not smtp.supports_extension("auth") or not smtp.supported_auth_methods:
            raise errors.ConfigInvalid(
                f"{config.host}:{config.port} takes no login that the hub knows. Another port may be right.",
                field="username",
            )
        await smtp.login(config.username, config.password.reveal())

    async def _context(self) -> ssl.SSLContext | None:
        """Made once: reading the certificate authorities takes 20 ms."""
        if self._tls is None and self._config.security != "none":
            try:
                self._tls = await asyncio.to_thread(ssl.create_default_context, cadata=self._config.ca_certificate)
            except (ssl.SSLError, ValueError) as error:
                raise errors.ConfigInvalid("This is not a certificate in PEM.", field="ca_certificate") from error
        return self._tls


async def _hello(smtp: aiosmtplib.SMTP) -> None:
    """EHLO, or HELO for a server from before 1995."""
    try:
        await smtp.ehlo()
    except aiosmtplib.SMTPHeloError as error:
        if error.code < 500:
            raise
        await smtp.helo()


async def quit_politely(smtp: aiosmtplib.SMTP) -> None:
    """QUIT (RFC 5321 asks for it), and never mind the answer."""
    with suppress(aiosmtplib.SMTPException, OSError):
        await smtp.quit(timeout=5)
    smtp.close()


def _literal(link: socket.socket) -> str:
    """Our name for EHLO: the address, as RFC 5321 section 4.1.4 has it for clients without a name of their own."""
    address = ipaddress.ip_address(link.getsockname()[0].partition("%")[0])
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"
