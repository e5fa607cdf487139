"""The real application, asked without a socket, by a tenant with an admin key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from penguin_hub import services
from penguin_hub.asgi import create_app
from penguin_hub.http.guards import SCOPES
from penguin_hub.keys.schemas import NewApiKey
from penguin_hub.keys.service import command_line
from penguin_hub.settings import Settings


@asynccontextmanager
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a new tenant's own. Its plugins are those on `sys.path`."""
    async with services.opened(settings) as at:
        made = await at.tenants.create_tenant("Test", "enterprise", owner_email="owner@example.com")
        by = command_line(made.tenant)
        key = await at.keys.create(by, NewApiKey(name="t", scopes=list(SCOPES), admin=True))
    app = create_app(settings)
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        # In one task from start to end, which a fixture's two halves are not.
        async with app.lifespan():
            started.set()
            await stop.wait()

    life, start = asyncio.create_task(live()), asyncio.create_task(started.wait())
    await asyncio.wait({life, start}, return_when=asyncio.FIRST_COMPLETED)
    start.cancel()
    try:
        if not life.done():
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            headers = {"authorization": f"Bearer {key.key}"}
            async with httpx.AsyncClient(transport=transport, base_url="http://hub/api/v1", headers=headers) as asked:
                yield asked
    finally:
        stop.set()
        await life
