"""From a client's request to a message that is safe to put on the wire (RFC 5321, 5322, 6531, 2045).

Nothing with a CR, LF or NUL gets into a header, an address, a name or a file name, and a client cannot set the headers
that say who sent a message and through whom. What a provider itself limits (number of tags, size) is left to it.
"""

import mimetypes
import re
import unicodedata
from collections.abc import Iterator

from penguin_hub_sdk import connectors

from penguin_hub.emails.content import Content, Draft, Recipient
from penguin_hub.emails.schemas import Kind, Mailbox, Mailboxes, NewAttachment, NewEmail, OneMailbox
from penguin_hub.platform import addresses
from penguin_hub.platform.errors import Invalid

MAX_RECIPIENTS = 50
MAX_LINE = 998
"""Octets of one line of a header (RFC 5322, 2.1.1)."""

# What the hub and the provider say about a message, not its author. `content-` and the others with a dash are prefixes.
FORBIDDEN_HEADERS = frozenset({
    "from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "mime-version", "return-path",
    "received", "received-spf", "authentication-results", "dkim-signature", "domainkey-signature", "delivered-to",
    "envelope-to", "apparently-to", "errors-to", "x-original-to",
})  # fmt: skip
FORBIDDEN_PREFIXES = ("content-", "resent-", "arc-", "x-penguin-")

_HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")
_WORD = r"[A-Za-z0-9!#$&^_.+-]{1,127}"
_CONTENT_TYPE = re.compile(rf'{_WORD}/{_WORD}(;[ ]?{_WORD}=({_WORD}|"[ !#-\[\]-~]*"))*')
_CONTENT_ID = re.compile(r"[!#-;=?-~]{1,255}")
_WITH_NAME = re.compile(r'\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^"<>]*?))\s*<(?P<email>[^<>]*)>\s*')


def draft(new: NewEmail) -> Draft:
    """Raises Invalid, which points at the field."""
    if not new.html and not new.text:
        raise Invalid.field("#/html", "required", "A message needs html or text (or both).")
    _plain(new.subject, "#/subject", "The subject")
    if len(new.subject.encode()) > MAX_LINE:
        raise Invalid.field("#/subject", "length", "The subject is longer than 998 bytes.")
    for pointer, values in (("#/tags", new.tags), ("#/metadata", [*new.metadata, *new.metadata.values()])):
        for value in values:
            _plain(value, pointer, "It")
    sender, _ = _mailbox(new.sender, "#/from")
    return Draft(
        content=Content(
            sender=sender,
            reply_to=tuple(address for address, _ in _mailboxes(new.reply_to, "#/reply_to")),
            subject=new.subject,
            html=_body(new.html, "#/html"),
            text=_body(new.text, "#/text"),
            headers=_headers(new.headers),
            attachments=tuple(
                _attachment(item, f"#/attachments/{index}") for index, item in enumerate(new.attachments)
            ),
        ),
        recipients=_recipients(new),
        tags=tuple(dict.fromkeys(new.tags)),
        metadata=new.metadata,
        stream=new.stream,
        connection=new.connection,
    )


def message_id(email_id: str, sender: str) -> str:
    """RFC 5322 Message-ID, unique because the id is, in the sender's own domain."""
    return f"{email_id}@{sender.rpartition('@')[2]}"


def _recipients(new: NewEmail) -> tuple[Recipient, ...]:
    """Everybody once: who is in `to` is not told a second time by `cc`."""
    found: dict[str, Recipient] = {}
    fields: tuple[tuple[Kind, Mailboxes], ...] = (("to", new.to), ("cc", new.cc), ("bcc", new.bcc))
    count = 0
    for kind, given in fields:
        for address, key in _mailboxes(given, f"#/{kind}"):
            count += 1
            found.setdefault(key, Recipient(kind=kind, email=address.email, key=key, name=address.name))
        if kind == "to" and not count:
            raise Invalid.field("#/to", "required", "A message needs somebody in `to`.")
    if count > MAX_RECIPIENTS:
        raise Invalid.field("#/to", "length", f"At most {MAX_RECIPIENTS} recipients in to, cc and bcc together.")
    return tuple(found.values())


def _mailboxes(given: Mailboxes, pointer: str) -> Iterator[tuple[connectors.Address, str]]:
    if not isinstance(given, list):
        yield _mailbox(given, pointer)
        return
    if len(given) > MAX_RECIPIENTS:
        raise Invalid.field(pointer, "length", f"At most {MAX_RECIPIENTS} addresses.")
    for index, item in enumerate(given):
        yield _mailbox(item, f"{pointer}/{index}")


def _mailbox(given: OneMailbox, pointer: str) -> tuple[connectors.Address, str]:
    """The address to write to, its domain in ASCII form, and its key."""
    if isinstance(given, Mailbox):
        email, name, pointer = given.email, given.name, f"{pointer}/email"
    else:
        email, name = _split(given, pointer)
    shown, key = addresses.email(email, pointer)
    local = shown.rpartition("@")[0]
    address = f"{local}@{key.rpartition('@')[2]}"
    if len(local.encode()) > 64 or len(address.encode()) > 254:
        raise Invalid.field(pointer, "length", "The address is longer than mail servers take (RFC 5321, 4.5.3.1).")
    if name is not None:
        _plain(name, pointer, "The name")
        if len(name) > 200:
            raise Invalid.field(pointer, "length", "The name is longer than 200 characters.")
    return connectors.Address(address, name.strip() or None if name else None), key


def _split(spelled: str, pointer: str) -> tuple[str, str | None]:
    """`Ada <ada@example.com>`, `"Lovelace, Ada" <ada@example.com>` or the address alone."""
    if "<" not in spelled and ">" not in spelled:
        return spelled.strip(" "), None
    match = _WITH_NAME.fullmatch(spelled)
    if match is None:
        raise Invalid.field(pointer, "format", "Write one address as `ada@example.com` or `Ada <ada@example.com>`.")
    if match["quoted"] is not None:
        return match["email"], re.sub(r"\\(.)", r"\1", match["quoted"])
    return match["email"], match["plain"]


def _headers(given: dict[str, str]) -> dict[str, str]:
    seen: set[str] = set()
    for name, value in given.items():
        pointer = "#/headers/" + name.replace("~", "~0").replace("/", "~1")
        lower = name.lower()
        if not _HEADER_NAME.fullmatch(name):
            raise Invalid.field("#/headers", "format", "A header's name is up to 76 printable ASCII characters.")
        if lower in FORBIDDEN_HEADERS or lower.startswith(FORBIDDEN_PREFIXES):
            raise Invalid.field(pointer, "forbidden_header", f"{name} is set by the hub or the provider.")
        if lower in seen:
            raise Invalid.field(pointer, "duplicate", f"{name} is given twice.")
        seen.add(lower)
        _plain(value, pointer, "The header")
        if len(name.encode()) + 2 + len(value.encode()) > MAX_LINE:
            raise Invalid.field(pointer, "length", "The header is longer than 998 bytes.")
    return given


def _attachment(given: NewAttachment, pointer: str) -> connectors.Attachment:
    name = given.filename
    _plain(name, f"{pointer}/filename", "The file name")
    if "/" in name or "\\" in name or name in {".", ".."}:
        raise Invalid.field(f"{pointer}/filename", "format", "A file name without folders.")
    if len(name.encode()) > 255:
        raise Invalid.field(f"{pointer}/filename", "length", "The file name is longer than 255 bytes.")
    if not given.content:
        raise Invalid.field(f"{pointer}/content", "required", "The file is empty.")
    kind = given.content_type or mimetypes.guess_type(name, strict=True)[0] or "application/octet-stream"
    if not _CONTENT_TYPE.fullmatch(kind) or kind.lower().startswith("multipart/"):
        raise Invalid.field(f"{pointer}/content_type", "format", "A media type such as `application/pdf`.")
    if given.content_id is not None and not _CONTENT_ID.fullmatch(given.content_id):
        raise Invalid.field(f"{pointer}/content_id", "format", "Printable ASCII without spaces, quotes, < and >.")
    return connectors.Attachment(name, kind, given.content, given.content_id)


def _body(value: str | None, pointer: str) -> str | None:
    if value and "\0" in value:
        raise Invalid.field(pointer, "nul", "Text must not contain NUL.")
    return value or None


def _plain(value: str, pointer: str, what: str) -> None:
    """Refuse everything that could end a header's line: control characters, and Unicode's own line ends."""
    for character in value:
        if character < " " or unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs"):
            raise Invalid.field(pointer, "control_character", f"{what} must not contain control characters.")
