"""A tenant's own server: takes webhooks, verifies each with the `standardwebhooks` package, and remembers all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks import Webhook


@dataclass
class Received:
    """One request as it came."""

    headers: dict[str, str]
    body: bytes
    verified: bool

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        decoded: dict[str, Any] = msgspec.json.decode(self.body)
        return decoded


@dataclass
class Receiver:
    url: str = ""
    secret: str | None = None
    requests: list[Received] = field(default_factory=list)
    answer: Callable[[Received], int] = lambda _: 200
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.Response:
        received = Received({k.lower(): v for k, v in request.headers.items()}, await request.read(), verified=False)
        if self.secret:
            Webhook(self.secret).verify(received.body, received.headers)
            received.verified = True
        async with self._heard:
            self.requests.append(received)
            self._heard.notify_all()
        return web.Response(status=self.answer(received))

    async def until(self, condition: Callable[["Receiver"], bool], *, seconds: float = 20.0) -> None:
        """Wait for what must come. Raises TimeoutError with what did come."""
        async with self._heard:
            try:
                async with asyncio.timeout(seconds):
                    await self._heard.wait_for(lambda: condition(self))
            except TimeoutError:
                raise TimeoutError(f"only came: {sorted(self.types)}") from None

    @property
    def types(self) -> list[str]:
        return [received.event["type"] for received in self.requests]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of one type, the first copy of each id."""
        seen: dict[str, dict[str, Any]] = {}
        for received in self.requests:
            if received.event["type"] == kind:
                seen.setdefault(received.id, received.event)
        return list(seen.values())


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on a free port of this machine."""
    found = Receiver()
    async with serving(found.take) as url:
        found.url = url + "/hook"
        yield found


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    """Any handler on a free port; gives the base URL."""
    application = web.Application(client_max_size=32 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
