"""A provider in memory: answers what the test says and remembers what it was asked."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from penguin_hub_sdk.exchange import Incoming, Request


class Reply(msgspec.Struct, frozen=True):
    """One answer of the provider."""

    status: int = 200
    json: Any = msgspec.UNSET
    body: bytes = b""
    headers: dict[str, str] = {}


class Recorded(msgspec.Struct, frozen=True):
    """One request as the provider saw it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.url).query, keep_blank_values=True)

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def form(self) -> list[tuple[str, str]]:
        """The fields, in order, of either kind of form; without the files."""
        if not self._multipart:
            return parse_qsl(self.body.decode(), keep_blank_values=True)
        return [(name, content.decode()) for name, filename, _, content in self._parts() if filename is None]

    def files(self) -> list[tuple[str, str, str, bytes]]:
        """The files of a multipart form: field, file name, content type, content."""
        return [(name, filename, kind, content) for name, filename, kind, content in self._parts() if filename]

    @property
    def _multipart(self) -> bool:
        return self.headers.get("content-type", "").startswith("multipart/")

    def _parts(self) -> list[tuple[str, str | None, str, bytes]]:
        if not self._multipart:
            return []
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        found: list[tuple[str, str | None, str, bytes]] = []
        for part in BytesParser(policy=HTTP).parsebytes(head + self.body).walk():
            content = part.get_payload(decode=True)
            if isinstance(content, bytes):
                name = str(part.get_param("name", header="content-disposition"))
                found.append((name, part.get_filename(), part.get_content_type(), content))
        return found


class Recorder:
    """A wire for `Http` with a clock of its own: waiting takes no time."""

    def __init__(self, *replies: Reply | Exception) -> None:
        """With replies: what any request gets, in turn; the last one is repeated."""
        self.requests: list[Recorded] = []
        self.now = 0.0
        self._routes: dict[tuple[str, str] | None, list[Reply | Exception]] = {}
        if replies:
            self._routes[None] = list(replies)

    def on(self, method: str, url: str, *replies: Reply | Exception) -> "Recorder":
        """What a request to this URL (without its query) gets, in turn; the last one is repeated."""
        self._routes[method.upper(), url] = list(replies)
        return self

    @property
    def request(self) -> Recorded:
        """The only request there was."""
        assert len(self.requests) == 1, f"expected one request, saw {[(r.method, r.url) for r in self.requests]}"
        return self.requests[0]

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Incoming]:
        seen = Recorded(request.method, request.url, dict(request.headers), request.body)
        self.requests.append(seen)
        replies = self._routes.get((seen.method, seen.url.partition("?")[0])) or self._routes.get(None)
        assert replies, f"the test says no answer for {seen.method} {seen.url}"
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Exception):
            raise reply
        body = reply.body if reply.json is msgspec.UNSET else msgspec.json.encode(reply.json)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        yield Incoming(reply.status, headers, _whole(body))

    async def aclose(self) -> None:
        """Nothing to close."""

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def _whole(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
