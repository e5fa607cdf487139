"""Receivers of many tenants on one port of this process, for tests that break things: raw HTTP, and every copy kept.

An endpoint's URL is `/{kind}/{tenant}/{name}`; the kind says how it answers. Nothing is judged here: what was wrong
with a copy is found later, by the checker, from what was kept.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

SLOW_SECONDS = 0.1


@dataclass(frozen=True)
class Copy:
    """One request that arrived whole, in the order of arrival."""

    at: float
    """By the monotonic clock."""
    kind: str
    tenant: str
    name: str
    """The endpoint, as its URL says."""
    headers: Mapping[str, str]
    body: bytes
    status: int
    """What was (or was to be) answered."""

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def endpoint(self) -> tuple[str, str]:
        return self.tenant, self.name

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Sink:
    """What `receiving` gives."""

    url: str = ""
    copies: list[Copy] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Endpoints of the kind `block` answer once it is set."""
    provider: Callable[[str, str, bytes], tuple[int, bytes]] | None = None
    """Answers what comes to `/provider/...` (method, path, body): the stand-in of an email provider."""
    sent: Counter[str] = field(default_factory=Counter)
    """How often the provider was given each message, by the hub's id of it."""
    _seen: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    def endpoint(self, kind: str, tenant: str, name: str) -> str:
        return f"{self.url}/{kind}/{tenant}/{name}"

    def of(self, tenant: str, name: str) -> list[Copy]:
        return [copy for copy in self.copies if copy.endpoint == (tenant, name)]

    async def until(self, condition: Callable[["Sink"], bool], seconds: float) -> None:
        """Wait for what must come. Raises TimeoutError."""
        async with self._heard:
            async with asyncio.timeout(seconds):
                await self._heard.wait_for(lambda: condition(self))

    async def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        _, kind, *rest = path.split("/")
        if kind == "provider":
            assert self.provider is not None
            return self.provider(method, "/" + "/".join(rest), body)
        tenant, name = rest
        message = headers.get("webhook-id", "")
        self._seen[tenant, name, message] += 1
        status = _status(kind, message, self._seen[tenant, name, message])
        async with self._heard:
            self.copies.append(Copy(time.monotonic(), kind, tenant, name, headers, body, status))
            self._heard.notify_all()
        if kind == "block":
            await self.gate.wait()
        elif kind == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        return status, b"ok"


def _status(kind: str, message: str, time: int) -> int:
    """`dead` always fails; `flaky` fails the first copy of every third message."""
    if kind == "dead":
        return 500
    if kind == "flaky" and time == 1 and sum(message.encode()) % 3 == 0:
        return 503
    return 200


class _Connection(asyncio.Protocol):
    """One request at a time, as the hub sends them: with a content-length."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", 0))
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            method, path, _ = first.split(" ")
            task = asyncio.get_running_loop().create_task(self._respond(method, path, headers, body))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _respond(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        status, text = await self._sink.answer(method, path, headers, body)
        if self._transport is not None:
            kind = b"application/json" if text.startswith(b"{") else b"text/plain"
            self._transport.write(
                b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, kind, len(text), text)
            )


@asynccontextmanager
async def receiving() -> AsyncIterator[Sink]:
    """A sink on a free port of this machine."""
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(sink), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    sink.url = f"http://{host}:{port}"
    try:
        yield sink
    finally:
        sink.gate.set()
        server.close()
