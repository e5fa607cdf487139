"""The message as it goes on the wire: RFC 5322 and MIME, by the standard library, and the envelope."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, quote
from typing import Final

import idna
from penguin_hub_sdk import Address, Attachment, Message, errors

_NAME: Final = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 section 2.2
_ADDRESS: Final = re.compile(r"""([^\x00-\x20"(),:;<>@\\\x7f]+|"[^\x00-\x1f"<>\\\x7f]+")@[^\x00-\x20"(),;<>@\\\x7f]+""")
_TYPE: Final = re.compile(r"\s*([\w!#$&^.+-]+)/([\w!#$&^.+-]+)\s*(?:;|$)", re.ASCII)  # RFC 6838 section 4.2
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_POLICY: Final = SMTP.clone(cte_type="7bit")
_LINE: Final = 998  # RFC 5322 section 2.1.1, without the line's end

OWN: Final = frozenset(
    {"from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "mime-version"}
)
"""Fields that the message's other parts decide; so do all that start with `content-`."""


def needs_utf8(message: Message) -> bool:
    """Whether an address cannot be written without SMTPUTF8 (RFC 6531). A domain always can (IDNA); a name too."""
    everybody = (message.sender, *message.recipients, *message.reply_to)
    return not all(address.email.rpartition("@")[0].isascii() for address in everybody)


def ascii_domain(email: str) -> str:
    """The address with its domain as DNS has it. Raises Rejected for one that cannot stand in a command or field."""
    if not _ADDRESS.fullmatch(email):
        raise errors.Rejected(f"{email!r} is not an address that SMTP can carry.", code="5.1.3")
    local, _, domain = email.rpartition("@")
    if domain.isascii():
        return email
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode()}"
    except idna.IDNAError as error:
        raise errors.Rejected(f"The domain of {email} is not a valid name: {error}.", code="5.1.2") from error


def envelope(addresses: Iterable[Address]) -> dict[str, str]:
    """Each mailbox once, in order: as SMTP has it -> as the message has it. Raises Rejected."""
    return {ascii_domain(address.email): address.email for address in addresses}


def build(message: Message, *, utf8: bool) -> bytes:
    """The bytes for DATA. Without `utf8` they are plain ASCII, so any server may carry them. Raises Rejected.

    The header fields are written here: the library, folding, would take a long link of List-Unsubscribe (RFC 2369) for
    text to be encoded, and has lost the quotes of a long list of names before. The body is the library's.
    """
    mime = EmailMessage(_POLICY)
    try:
        if not utf8 and needs_utf8(message):
            raise ValueError("an address needs SMTPUTF8")
        fields = "".join(_fields(message)).encode()
        _body(mime, message)
        return fields + mime.as_bytes(policy=_POLICY)
    except (ValueError, TypeError, LookupError, MessageError) as error:
        raise errors.Rejected(f"The message cannot be written as mail: {error}.") from error


def _fields(message: Message) -> Iterator[str]:
    for name, addresses in (
        ("From", (message.sender,)),
        ("To", message.to),
        ("Cc", message.cc),
        ("Reply-To", message.reply_to),
    ):
        if addresses:
            yield f"{name}: " + ",\r\n ".join(_mailbox(address) for address in addresses) + "\r\n"
    yield from _field("Subject", message.subject)
    yield from _field("Date", format_datetime(datetime.now(UTC)))
    yield from _field("Message-ID", f"<{message.message_id}>")
    for name, value in message.headers.items():
        if not _NAME.fullmatch(name) or name.lower() in OWN or name.lower().startswith("content-"):
            raise ValueError(f"the header {name!r} is not one that a message may set")
        yield from _field(name, value)


def _mailbox(address: Address) -> str:
    email = ascii_domain(address.email)
    if not address.name:
        return email
    if _CONTROL.search(address.name):
        raise ValueError("a name holds a control character")
    plain = address.name.isascii() and len(address.name) < 200
    name = f'"{quote(address.name)}"' if plain else _words(address.name, "")
    return f"{name} <{email}>"


def _field(name: str, value: str) -> Iterator[str]:
    """One field, folded before a space where a line would be too long; text that is not ASCII as RFC 2047 has it."""
    if _CONTROL.search(value):
        raise ValueError(f"the header {name!r} holds a control character")
    if not value.isascii():
        yield f"{name}: {_words(value, name)}\r\n"
        return
    line = f"{name}: {value.strip()}"
    while len(line) > _LINE:
        fold = line.rfind(" ", len(name) + 2, _LINE)
        if not line[:fold].strip() or fold < 1:
            raise ValueError(f"the header {name!r} is too long for a line of mail")
        yield f"{line[:fold]}\r\n"
        line = line[fold:]
    yield f"{line}\r\n"


def _words(text: str, name: str) -> str:
    return Header(text, "utf-8", maxlinelen=75, header_name=name).encode(linesep="\r\n")


def _body(mime: EmailMessage, message: Message) -> None:
    inline = [item for item in message.attachments if item.content_id and message.html is not None]
    if message.html is None:
        mime.set_content(message.text or "")
    elif message.text is None:
        mime.set_content(message.html, subtype="html")
    else:
        mime.set_content(message.text)
        mime.add_alternative(message.html, subtype="html")
    if inline:
        shown = mime.get_body(("html",))
        assert isinstance(shown, EmailMessage)  # noqa: S101 - set two lines above
        for item in inline:
            maintype, subtype = _type(item)
            shown.add_related(
                item.content,
                maintype=maintype,
                subtype=subtype,
                cid=f"<{item.content_id}>",
                filename=item.filename,
                disposition="inline",
            )
    for item in message.attachments:
        if item not in inline:
            maintype, subtype = _type(item)
            mime.add_attachment(item.content, maintype=maintype, subtype=subtype, filename=item.filename)


def _type(item: Attachment) -> tuple[str, str]:
    """A type that is none is carried as plain bytes; so is a message or multipart, which must not be encoded under its
    own type (RFC 2045 section 6.4)."""
    if _CONTROL.search(item.filename + item.content_type + (item.content_id or "")):
        raise ValueError("an attachment's name, type or id holds a control character")
    found = _TYPE.match(item.content_type.lower())
    if not found or found[1] in ("message", "multipart"):
        return "application", "octet-stream"
    return found[1], found[2]
