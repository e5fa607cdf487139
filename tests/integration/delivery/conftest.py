"""A tenant with endpoints, and a receiver that does whatever the test says."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from penguin_hub.delivery.client import Client
from penguin_hub.delivery.router import DeliveryRouter
from penguin_hub.delivery.service import WebhooksService
from penguin_hub.delivery.service_log import DeliveriesService
from penguin_hub.events.service import EventsService
from penguin_hub.platform.db import Database
from penguin_hub.settings import Settings
from penguin_hub.vault import open_store
from support.delivery import LOCAL, Engine, Receiver
from support.tenants import make_principal


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver(0)
    running: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        task.add_done_callback(running.discard)
        await found.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()
    for task in list(running):
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await server.wait_closed()


@pytest.fixture
async def engine(settings: Settings, database: Database) -> AsyncIterator[Engine]:
    secrets = await open_store(settings, database)
    client = Client(allow=LOCAL)
    events = EventsService(database, DeliveryRouter())
    yield Engine(
        database=database,
        secrets=secrets,
        client=client,
        events=events,
        webhooks=WebhooksService(database, secrets, client),
        deliveries=DeliveriesService(database, events),
        principal=await make_principal(database),
    )
    await client.close()
    await secrets.close()
