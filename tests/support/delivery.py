"""A tenant with endpoints, a worker, and a receiver that does whatever the test says, byte by byte."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from penguin_hub.delivery.client import Client
from penguin_hub.delivery.schemas import DeliveryDetail, NewWebhook, Recovery, Webhook
from penguin_hub.delivery.service import WebhooksService
from penguin_hub.delivery.service_log import DeliveriesService
from penguin_hub.delivery.worker import DeliveryWorker
from penguin_hub.events.schemas import NewEvent
from penguin_hub.events.service import EventsService
from penguin_hub.http.idempotency import NEVER_ASKED
from penguin_hub.http.paging import Paging
from penguin_hub.http.principal import Principal
from penguin_hub.platform.db import Database
from penguin_hub.settings import Settings
from penguin_hub.vault import SecretStore
from penguin_hub_sdk.addresses import networks

LOCAL = networks(["127.0.0.1/32"])
FINISHED = ("succeeded", "failed", "discarded")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Call:
    """One request as it came; `at` is the loop's time."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Answer = Callable[[Call, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Receiver:
    """`answers` by path: bytes that are written as they are, a list of them one after the other, or a function."""

    port: int
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    answers: dict[str, bytes | list[bytes] | Answer] = field(default_factory=dict)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        async with self.heard, asyncio.timeout(seconds):
            await self.heard.wait_for(condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                call = Call(head[0].split(" ")[1], headers, body, asyncio.get_running_loop().time())
                answer = self.answers.get(call.path, OK)
                if isinstance(answer, list):
                    answer = answer[min(len(self.at(call.path)), len(answer) - 1)]
                async with self.heard:
                    self.calls.append(call)
                    self.heard.notify_all()
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(call, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {code} X", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class Engine:
    """The feature as it is wired, and one tenant."""

    database: Database
    secrets: SecretStore
    client: Client
    events: EventsService
    webhooks: WebhooksService
    deliveries: DeliveriesService
    principal: Principal

    @property
    def tenant(self) -> str:
        return self.principal.tenant

    async def endpoint(self, url: str, **wanted: Any) -> Webhook:
        wanted = {"events": ["*"], "retry": [], **wanted}
        return await self.webhooks.create(self.principal, NewWebhook(url=url, **wanted), NEVER_ASKED)

    async def publish(self, type: str = "test.event", tenant: str | None = None, **wanted: Any) -> str:
        tenant = tenant or self.tenant
        async with self.database.tenant(tenant) as connection:
            return await self.events.add(connection, tenant, NewEvent(type=type, data=wanted.pop("data", {}), **wanted))

    async def publish_many(self, count: int, type: str = "test.event", tenant: str | None = None) -> list[str]:
        tenant = tenant or self.tenant
        async with self.database.tenant(tenant) as connection:
            made = [NewEvent(type=type, data={"number": number}) for number in range(count)]
            return await self.events.add_many(connection, tenant, made)

    def worker(self, *, client: Client | None = None, **wanted: Any) -> DeliveryWorker:
        return DeliveryWorker(self.database, self.events, self.secrets, client or self.client, **wanted)

    @asynccontextmanager
    async def working(self, *, client: Client | None = None, **wanted: Any) -> AsyncIterator[DeliveryWorker]:
        worker = self.worker(client=client, **wanted)
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await task

    async def log(self, tenant: str | None = None, **filters: Any) -> list[DeliveryDetail]:
        """Every delivery, oldest first, with its attempts."""
        tenant = tenant or self.tenant
        page = await self.deliveries.page(tenant, Paging(limit=1000, descending=False), **filters)
        return [await self.deliveries.get(tenant, one.id) for one in page.data]

    async def finished(
        self, count: int = 1, *, tenant: str | None = None, seconds: float = 20.0
    ) -> list[DeliveryDetail]:
        """All deliveries, once so many of them are finished and none waits."""
        async with asyncio.timeout(seconds):
            while True:
                # The list is one moment; what is read of each afterwards may be another's.
                page = await self.deliveries.page(tenant or self.tenant, Paging(limit=1000, descending=False))
                if len(page.data) >= count and all(one.status in FINISHED for one in page.data):
                    return await self.log(tenant)
                await asyncio.sleep(0.05)

    async def until(self, condition: Callable[[DeliveryDetail], bool], seconds: float = 20.0) -> DeliveryDetail:
        """The first delivery for which it holds."""
        async with asyncio.timeout(seconds):
            while True:
                for one in await self.log():
                    if condition(one):
                        return one
                await asyncio.sleep(0.02)

    async def recovered(self, webhook: str, recovery: str, seconds: float = 60.0) -> Recovery:
        """Once it is not running any more."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self.deliveries.recovery(self.tenant, webhook, recovery)
                if found.state != "running":
                    return found
                await asyncio.sleep(0.05)

    async def drained(self, seconds: float = 60.0) -> None:
        """Once nothing waits, of any tenant."""
        async with asyncio.timeout(seconds):
            while True:
                if not await self.execute("SELECT count(*) FROM delivery_queue"):
                    return
                await asyncio.sleep(0.05)

    async def execute(self, sql: str, *arguments: Any) -> Any:
        """What no API does: moving the time in rows."""
        async with self.database.system() as connection:
            return await connection.fetchval(sql, *arguments)


def environment(settings: Settings) -> dict[str, str]:
    """For a process of the hub's own on the test's servers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PENGUIN_", "VAULT_"))}
    return {
        **kept,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "PENGUIN_DATA": str(settings.data),
        "PENGUIN_DESTINATION_ALLOW": "127.0.0.1/32",
    }
