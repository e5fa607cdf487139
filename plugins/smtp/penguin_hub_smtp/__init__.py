"""SMTP: mail through any server that takes submissions (RFC 6409)."""

import asyncio
from typing import Final

import aiosmtplib
from penguin_hub_sdk import Context, Manifest, Message, Plugin, Receipt, Refusal, errors, hookimpl

from penguin_hub_smtp import mime, replies
from penguin_hub_smtp.pool import Pool, quit_politely
from penguin_hub_smtp.settings import Settings

DEADLINE: Final = 50.0
"""Seconds for one message, waiting for a connection included; the hub gives a plugin a minute."""

UTF8: Final = ("SMTPUTF8", "BODY=8BITMIME")
"""RFC 6531: asked for when an address needs it, and only then."""


class Smtp:
    def __init__(self, ctx: Context[Settings]) -> None:
        self._host = ctx.config.host
        self._pool = Pool(ctx)

    async def check(self) -> None:
        """Connect, secure, log in."""
        await quit_politely(await self._pool.open())

    async def send(self, message: Message) -> Receipt:
        """The receipt's id is the Message-ID: what a server calls its copy is told in words of its own, if at all."""
        envelope = mime.envelope(message.recipients)
        sender = mime.ascii_domain(message.sender.email)
        utf8 = mime.needs_utf8(message)
        data = await asyncio.to_thread(mime.build, message, utf8=utf8)
        try:
            async with asyncio.timeout(DEADLINE), self._pool.session() as smtp:
                outcome = await transmit(smtp, sender, envelope, data, utf8=utf8)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise replies.error_of_network(error, self._host) from error
        if isinstance(outcome, errors.PluginError):
            raise outcome
        return Receipt(message.message_id, outcome)

    async def aclose(self) -> None:
        await self._pool.aclose()


async def transmit(
    smtp: aiosmtplib.SMTP, sender: str, envelope: dict[str, str], data: bytes, *, utf8: bool
) -> tuple[Refusal, ...] | errors.PluginError:
    """One mail transaction. What the server says no to is a value, so that the connection is used again."""
    if utf8 and not smtp.supports_extension("smtputf8"):
        return errors.Rejected("An address needs SMTPUTF8, which the server does not offer.", code="5.6.7")
    options = UTF8 if utf8 else ()
    try:
        replied, _ = await smtp.sendmail(sender, list(envelope), data, mail_options=options)
    except aiosmtplib.SMTPRecipientsRefused as error:
        return replies.error_of_refusals(
            [replies.refusal(envelope[one.recipient], one.code, one.message) for one in error.recipients]
        )
    except aiosmtplib.SMTPResponseException as error:
        return replies.error_of(error)
    except ValueError as error:
        return errors.Rejected(f"An address cannot be written in SMTP: {error}.", code="5.1.3")
    return tuple(replies.refusal(envelope[address], *reply) for address, reply in replied.items())


@hookimpl
def hub_plugin() -> Plugin[Settings]:
    return Plugin(manifest=Manifest.load(__package__), config=Settings, connect=Smtp)
