"""A tenant's mail with a scripted provider: everything but the plugin is real."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
from penguin_hub.connections.errors import ConnectionNotFound
from penguin_hub.connections.schemas import OpenConnection
from penguin_hub.contacts.service import ContactsService
from penguin_hub.emails.schemas import Email, NewEmail
from penguin_hub.emails.service import EmailsService
from penguin_hub.emails.suppressions.service import SuppressionsService
from penguin_hub.emails.worker import EmailWorker
from penguin_hub.events.service import EventsService, Routed
from penguin_hub.http.idempotency import NEVER_ASKED, Once
from penguin_hub.http.principal import Principal
from penguin_hub.platform import db, ids
from penguin_hub.platform.db import Database
from penguin_hub.plugins.schemas import Capabilities
from penguin_hub_sdk.config import Config
from penguin_hub_sdk.connectors import Message, Receipt
from penguin_hub_sdk.errors import PluginError
from penguin_hub_sdk.hooks import Plugin
from penguin_hub_sdk.manifest import Limits, Manifest
from support.tenants import make_principal

Script = Callable[[Message], Awaitable[Receipt]]


class Provider:
    """A connector that does what the test says; by default it takes everything."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.script: Script | None = None
        self.heard = asyncio.Condition()

    async def check(self) -> None: ...

    async def send(self, message: Message) -> Receipt:
        async with self.heard:
            self.sent.append(message)
            self.heard.notify_all()
        return await self.script(message) if self.script is not None else Receipt(f"r-{message.id}-{len(self.sent)}")

    async def until_sent(self, count: int) -> None:
        async with self.heard:
            await asyncio.wait_for(self.heard.wait_for(lambda: len(self.sent) >= count), 10)


class BatchProvider(Provider):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    async def send_batch(self, messages: Sequence[Message]) -> Sequence[Receipt | PluginError]:
        self.batches.append(len(messages))
        outcomes: list[Receipt | PluginError] = []
        for message in messages:
            try:
                outcomes.append(await self.send(message))
            except PluginError as error:
                outcomes.append(error)
        return outcomes


class Connections:
    """Stands in for the connections of the hub: as many as the test opens, each with its provider."""

    def __init__(self) -> None:
        self.open: dict[str, OpenConnection] = {}
        self.tenants: dict[str, str] = {}
        self.reports: list[PluginError | None] = []

    def add(self, principal: Principal, provider: Provider, *, batch: int = 1, concurrency: int = 8) -> str:
        manifest = Manifest(
            id="acme", name="Acme", version="1.0.0", category="email", summary="For tests", batch=batch,
            limits=Limits(rate=1000, burst=1000, concurrency=concurrency),
        )  # fmt: skip
        plugin: Plugin[Any] = Plugin(manifest=manifest, config=Config, connect=lambda _: provider)
        connection_id = ids.new("cnx")
        self.tenants[principal.tenant] = connection_id
        self.open[connection_id] = OpenConnection(
            id=connection_id, tenant=principal.tenant, workspace=principal.workspace, version=1, status="active",
            plugin=plugin, capabilities=Capabilities(sends_email=True, batch=batch, destination=False, webhook=True),
            config=Config(), connector=provider,
        )  # fmt: skip
        return connection_id

    async def pick_email(
        self, connection: db.Connection, tenant: str, *, stream: str, requested: str | None, environment: str
    ) -> str:
        return requested or self.tenants[tenant]

    async def connector(self, tenant: str, connection_id: str) -> OpenConnection:
        if connection_id not in self.open:
            raise ConnectionNotFound("There is no such connection.")
        return self.open[connection_id]

    async def report(self, tenant: str, connection_id: str, error: PluginError | None) -> None:
        self.reports.append(error)


class Nobody:
    """No endpoint wants anything."""

    async def route(
        self, connection: db.Connection, tenant: str, events: Sequence[Routed]
    ) -> Sequence[tuple[str, str, str, str]]:
        return ()


class Post:
    """One tenant's mail, and what a test asks about it."""

    def __init__(self, database: Database, principal: Principal) -> None:
        self.database = database
        self.principal = principal
        self.connections = cast("Any", Connections())
        self.provider = Provider()
        self.connection = self.connections.add(principal, self.provider)
        self.suppressions = SuppressionsService(database)
        self.events = EventsService(database, Nobody())
        self.contacts = ContactsService(database, self.events)
        self.service = EmailsService(database, self.connections, self.events, self.suppressions, self.contacts)

    def worker(self, database: Database | None = None) -> EmailWorker:
        return EmailWorker(database or self.database, self.connections, self.suppressions, self.service.recorder)

    @asynccontextmanager
    async def working(self, database: Database | None = None) -> AsyncIterator[EmailWorker]:
        """A worker at work; it is stopped gracefully."""
        stop = asyncio.Event()
        worker = self.worker(database)
        task = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await asyncio.wait_for(task, 40)

    async def send(self, to: Any = "ada@example.com", once: Once = NEVER_ASKED, **fields: Any) -> str:
        new = NewEmail(sender="shop@example.com", to=to, subject="Hello", text="Hi", **fields)
        return (await self.service.send(self.principal, new, once)).id

    async def get(self, email_id: str) -> Email:
        return await self.service.get(self.principal, email_id)

    async def until(self, email_id: str, *statuses: str, seconds: float = 10) -> Email:
        """The email once it has one of the statuses."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            email = await self.get(email_id)
            if email.status in statuses:
                return email
            assert asyncio.get_running_loop().time() < deadline, f"{email.status}: {email.events}"
            await asyncio.sleep(0.02)

    async def told(self) -> list[tuple[str, Any]]:
        """(type, data) of the tenant's events so far."""
        async with self.database.tenant(self.principal.tenant) as connection:
            rows = await connection.fetch("SELECT type, body FROM events ORDER BY id")
        return [(row["type"], msgspec.json.decode(row["body"])["data"]) for row in rows]

    async def queued(self) -> list[Any]:
        async with self.database.tenant(self.principal.tenant) as connection:
            return list(await connection.fetch("SELECT * FROM email_queue ORDER BY email_id"))

    async def make_due(self) -> None:
        """Let the waiting time of every retry be over."""
        async with self.database.tenant(self.principal.tenant) as connection:
            await connection.execute("UPDATE email_queue SET due_at = now() WHERE lease IS NULL")


@pytest.fixture
async def post(database: Database) -> Post:
    return Post(database, await make_principal(database))


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def batch_provider() -> BatchProvider:
    return BatchProvider()
