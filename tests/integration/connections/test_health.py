"""Regular checks find out what broke, tell the tenant once, and find out when it works again."""

import asyncio

import pytest
from penguin_hub.connections.schemas import NewConnection
from penguin_hub.connections.service import ConnectionsService
from penguin_hub.http.idempotency import NEVER_ASKED
from penguin_hub.http.paging import Pager
from penguin_hub.http.principal import Principal
from penguin_hub.monitoring.health import ConnectionHealth
from penguin_hub.platform.db import Database, owner
from penguin_hub.settings import Settings
from penguin_hub.vault import SecretStore


async def due(settings: Settings) -> None:
    async with owner(settings.database_url) as connection:
        await connection.execute("UPDATE connections SET next_check_at = now()")


async def test_a_check_that_is_due_is_made_once_and_kept(
    connections: ConnectionsService,
    principal: Principal,
    database: Database,
    settings: Settings,
    secrets: SecretStore,
) -> None:
    made = await connections.create(principal, NewConnection(plugin="mailer", config={"api_key": "k"}), NEVER_ASKED)
    assert await connections.due_checks(10) == []
    await due(settings)
    claims = await asyncio.gather(*(connections.due_checks(10) for _ in range(4)))
    assert [claim for batch in claims for claim in batch] == [(principal.tenant, made.id)]

    version = await secrets.write(principal.tenant, f"connections/{made.id}", {"api_key": "wrong"}, cas=None)
    async with owner(settings.database_url) as connection:
        await connection.execute("UPDATE connections SET secret_version = $1, version = version + 1", version)
    failed = await connections.check(principal.tenant, made.id)
    assert not failed.ok
    assert failed.error is not None
    assert failed.error.field == "api_key"
    broken = await connections.get(principal, made.id)
    assert broken.status == "error"
    assert broken.last_check is not None
    assert not broken.last_check.ok

    paging = Pager(b"k" * 32).paging(tenant=principal.tenant, route="checks", limit=10, sort_by="at")
    page = await connections.checks(principal, made.id, paging)
    assert [(check.id, check.ok) for check in page.data] == [(failed.id, False)]
    async with owner(settings.database_url) as connection:
        await connection.execute("UPDATE connection_checks SET at = now() - interval '31 days'")
    assert await connections.upkeep() == 1
    assert (await connections.checks(principal, made.id, paging)).data == []


async def test_the_loop_checks_and_stops_when_it_is_told_to(
    connections: ConnectionsService, principal: Principal, settings: Settings
) -> None:
    made = await connections.create(principal, NewConnection(plugin="mailer", config={"api_key": "k"}), NEVER_ASKED)
    await due(settings)
    checked = asyncio.Event()
    usual = connections.check

    async def check(tenant: str, connection: str) -> object:
        result = await usual(tenant, connection)
        checked.set()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "check", check)
        stop = asyncio.Event()
        loop = asyncio.create_task(ConnectionHealth(connections, pause=0.01).run(stop))
        await asyncio.wait_for(checked.wait(), 10)
        stop.set()
        await asyncio.wait_for(loop, 10)
    seen = await connections.get(principal, made.id)
    assert seen.last_check is not None
    assert seen.last_check.ok
    assert seen.last_check.at > made.created_at
