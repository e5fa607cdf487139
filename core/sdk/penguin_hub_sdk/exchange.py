"""What goes over `ctx.http` and what comes back, without any HTTP library: `http` is the one that has it."""

import base64
import re
import zlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from penguin_hub_sdk.config import Secret
from penguin_hub_sdk.errors import BadAnswer, ConfigInvalid, NetworkFailed, Rejected

T = TypeVar("T")

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_DETAIL: Final = 500
"""Characters of a provider's sentence that are kept."""


class Basic(msgspec.Struct, frozen=True):
    """HTTP basic authentication."""

    user: str
    password: Secret

    def header(self) -> str:
        pair = f"{self.user}:{self.password.reveal()}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


class Bearer(msgspec.Struct, frozen=True):
    """`Authorization: Bearer ...`."""

    token: Secret

    def header(self) -> str:
        return f"Bearer {self.token.reveal()}"


class Part(msgspec.Struct, frozen=True):
    """One file of a multipart form."""

    name: str
    filename: str
    content_type: str
    content: bytes


class Request(msgspec.Struct, frozen=True):
    """One request, complete, as it goes on the wire."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url.partition('?')[0]})"


class Incoming(msgspec.Struct, frozen=True):
    """What came back, its body still on the way."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncGenerator[bytes, None]


class Wire(Protocol):
    """What carries a request. The hub's is `Pinned`; the test kit's is its Recorder."""

    def send(self, request: Request) -> AbstractAsyncContextManager[Incoming]:
        """Raises NetworkFailed, NotSent, ConfigInvalid."""
        ...

    async def aclose(self) -> None: ...


class NotSent(NetworkFailed):
    """No connection came about: the provider has surely not seen the request."""


class Response(msgspec.Struct, frozen=True):
    """A provider's answer with a 2xx status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; values of a repeated name joined by a comma."""
    body: bytes

    def json(self, type: type[T]) -> T:
        """The body as a struct. Raises BadAnswer when it is not what was expected."""
        try:
            return msgspec.json.decode(self.body, type=type)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = f"The provider's answer is not what its API promises: {error}."
            raise BadAnswer(text, status=self.status) from None

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"


Explain = Callable[[Response], tuple[str | None, str | None]]


async def read_body(incoming: Incoming, cap: int) -> bytes:
    """The body, at most `cap` bytes of it after decoding; a bomb is never unpacked."""
    encoding = incoming.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise BadAnswer(f"The provider's answer is in an encoding nobody asked for: {encoding[:20]!r}.")
    unpack = None if encoding in ("", "identity") else zlib.decompressobj(47)  # 32 + 15: gzip or zlib, by its header
    found = bytearray()
    async for chunk in incoming.chunks:
        try:
            found += chunk if unpack is None else unpack.decompress(chunk, cap + 1 - len(found))
        except zlib.error:
            raise BadAnswer("The provider's answer is damaged.", status=incoming.status) from None
        if len(found) > cap:
            raise BadAnswer(f"The provider's answer is longer than {cap} bytes.", status=incoming.status)
    return bytes(found)


def header_value(name: str, value: str | Secret) -> str:
    text = value.reveal() if isinstance(value, Secret) else value
    if _CONTROL.search(text) or any(ord(character) > 255 for character in text) or text != text.strip():
        raise ConfigInvalid(f"The value for the header {name!r} holds characters that HTTP does not allow there.")
    return text


def checked(part: Part) -> Part:
    """Raises Rejected when its content type would break out of its header."""
    if _CONTROL.search(part.content_type) or not part.content_type.isascii():
        raise Rejected(f"The content type of {part.filename!r} is not one.")
    return part


class Redactor:
    """Takes one connection's secrets out of text on its way to a tenant."""

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Iterable[str]) -> None:
        # As it stands and as it looks in a URL, the longest first. Very short ones would hide everything.
        spellings = {text for secret in secrets if len(secret) >= 4 for text in (secret, quote(secret, safe=""))}
        self._secrets = tuple(sorted(spellings, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """One line, cut, and none of the secrets in it."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _CONTROL.sub(" ", text).strip()[:_DETAIL]
