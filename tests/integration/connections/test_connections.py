"""Connections: checked before they are saved, secrets in the store alone, rows and secrets in step."""

import asyncio
from typing import Any

import pytest
import structlog.testing
from penguin_hub.connections.errors import (
    BuiltIn,
    CheckFailed,
    ConnectionBusy,
    ConnectionChanged,
    ConnectionDisabled,
    ConnectionInactive,
    ConnectionNotFound,
    NoEmailConnection,
    NotForEmail,
    PluginFailed,
)
from penguin_hub.connections.schemas import Connection, ConnectionChange, NewConnection
from penguin_hub.connections.service import ConnectionsService
from penguin_hub.connections.surroundings import ConnectionState
from penguin_hub.http.idempotency import NEVER_ASKED
from penguin_hub.http.paging import Pager
from penguin_hub.http.principal import Principal
from penguin_hub.platform import ids
from penguin_hub.platform.db import Database, owner
from penguin_hub.platform.errors import Invalid
from penguin_hub.plugins.errors import PluginIncompatible, PluginNotFound, PluginUnavailable
from penguin_hub.settings import Settings
from penguin_hub.vault import SecretStore
from penguin_hub.vault.errors import SecretNotFound, VaultUnavailable
from penguin_hub_sdk.connectors import Address, EmailProvider, Event, Message
from penguin_hub_sdk.errors import AuthExpired, NetworkFailed, QuotaExceeded
from support.tenants import make_principal

KEY = "s3cr3t-api-key-canary"
GOOD = {"api_key": KEY, "signing_key": "signing-canary"}


def new(plugin: str = "mailer", **config: Any) -> NewConnection:
    return NewConnection(plugin=plugin, config=config or GOOD)


async def events(database: Database, principal: Principal) -> list[str]:
    async with database.tenant(principal.tenant) as connection:
        return [row["type"] for row in await connection.fetch("SELECT type FROM events ORDER BY id")]


async def test_a_connection_is_checked_saved_and_told_about(
    connections: ConnectionsService, principal: Principal, database: Database
) -> None:
    made = await connections.create(principal, new(), NEVER_ASKED)
    assert made.config == {"region": "eu"}
    assert made.secrets == {"api_key": True, "signing_key": True}
    assert made.status == "active"
    assert made.last_check is not None
    assert made.webhook_url == f"http://127.0.0.1:8080/api/webhooks/mailer/{made.id}"
    assert await connections.get(principal, made.id) == made
    assert await events(database, principal) == ["connection.created"]
    async with database.tenant(principal.tenant) as connection:
        audit = await connection.fetchrow("SELECT action, target, actor FROM audit_log")
    assert audit is not None
    assert tuple(audit) == ("connection.created", made.id, principal.actor)


async def test_secrets_are_in_the_store_and_nowhere_else(
    connections: ConnectionsService, principal: Principal, settings: Settings, secrets: SecretStore
) -> None:
    with structlog.testing.capture_logs() as logs:
        made = await connections.create(principal, new(), NEVER_ASKED)
    assert any(entry["event"] == "checking" and entry["key"] == "***" for entry in logs)
    assert (await secrets.read(principal.tenant, f"connections/{made.id}")).fields == GOOD
    async with owner(settings.database_url) as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for table in tables:
            rows = await connection.fetch(f'SELECT t::text FROM "{table["tablename"]}" t')
            assert not [row for row in rows if "canary" in row[0]], table["tablename"]


@pytest.mark.parametrize(
    ("config", "pointer", "code"),
    [
        ({}, "#/config/api_key", "required"),
        ({"api_key": ""}, "#/config/api_key", "type"),
        ({"api_key": 7}, "#/config/api_key", "type"),
        ({"api_key": "x", "regoin": "eu"}, "#/config/regoin", "unknown"),
        ({"api_key": "x", "region": "mars"}, "#/config/region", "format"),
        ({"api_key": "wrong"}, "#/config/api_key", "authentication"),
        ({"api_key": "down"}, "#/config", "network"),
    ],
)
async def test_a_configuration_that_does_not_work_is_refused_with_a_pointer_and_nothing_is_kept(
    connections: ConnectionsService,
    principal: Principal,
    database: Database,
    secrets: SecretStore,
    config: dict[str, Any],
    pointer: str,
    code: str,
) -> None:
    with pytest.raises(Invalid) as refused:
        await connections.create(principal, NewConnection(plugin="mailer", config=config), NEVER_ASKED)
    (error,) = refused.value.errors
    assert (error.pointer, error.code) == (pointer, code)
    assert await secrets.list(principal.tenant, "connections") == []
    assert await events(database, principal) == []


async def test_a_plugin_that_crashes_says_nothing_of_the_key(
    connections: ConnectionsService, principal: Principal
) -> None:
    with structlog.testing.capture_logs() as logs, pytest.raises(PluginFailed) as refused:
        await connections.create(principal, new(api_key="crash"), NEVER_ASKED)
    assert "crash" not in refused.value.detail
    (entry,) = [entry for entry in logs if entry["event"] == "plugin_crashed"]
    assert entry["incident"] == refused.value.extra["incident"]
    assert "the key is ***" in entry["reason"]


@pytest.mark.parametrize(
    ("plugin", "error"),
    [("nobody", PluginNotFound), ("broken", PluginUnavailable), ("future", PluginIncompatible), ("toy", BuiltIn)],
)
async def test_p06_only_a_plugin_that_is_there_and_fits_is_connected(
    connections: ConnectionsService, principal: Principal, plugin: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await connections.create(principal, new(plugin), NEVER_ASKED)


class Failing:
    """The store of secrets, which does one thing more after a write."""

    def __init__(self, secrets: SecretStore, then: Any) -> None:
        self._secrets = secrets
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._secrets, name)

    async def write(self, *arguments: Any, **options: Any) -> int:
        version = await self._secrets.write(*arguments, **options)
        await self._then()
        return version


async def test_a_transaction_that_fails_leaves_no_secret(
    make: Any, principal: Principal, database: Database, secrets: SecretStore, settings: Settings
) -> None:
    async def break_it() -> None:
        async with owner(settings.database_url) as connection:
            await connection.execute("ALTER TABLE audit_log RENAME TO audit_log_away")

    service = make(Failing(secrets, break_it))
    with pytest.raises(Exception, match="audit_log"):
        await service.create(principal, new(), NEVER_ASKED)
    assert await secrets.list(principal.tenant, "connections") == []
    async with database.tenant(principal.tenant) as connection:
        assert await connection.fetchval("SELECT count(*) FROM connection_leftovers") == 0


async def test_a_process_that_dies_between_secret_and_row_leaves_what_upkeep_erases(
    make: Any, connections: ConnectionsService, principal: Principal, secrets: SecretStore, settings: Settings
) -> None:
    service = make()
    tenant, orphan = principal.tenant, ids.new("cnx")
    await service._keeper.first(tenant, orphan, {"api_key": KEY})
    assert await connections.upkeep() == 0, "it may still be somebody's who is about to save the row"
    async with owner(settings.database_url) as connection:
        await connection.execute("UPDATE connection_leftovers SET due_at = now()")
    assert await connections.upkeep() == 1
    with pytest.raises(SecretNotFound):
        await secrets.read(tenant, f"connections/{orphan}")
    assert await connections.upkeep() == 0


async def test_saving_fails_when_upkeep_has_given_it_up(
    make: Any, principal: Principal, secrets: SecretStore, settings: Settings, database: Database
) -> None:
    async def overtaken() -> None:
        async with owner(settings.database_url) as connection:
            await connection.execute("UPDATE connection_leftovers SET due_at = now()")
        await make().upkeep()

    with pytest.raises(ConnectionBusy):
        await make(Failing(secrets, overtaken)).create(principal, new(), NEVER_ASKED)
    async with database.tenant(principal.tenant) as connection:
        assert await connection.fetchval("SELECT count(*) FROM connections") == 0


async def test_deleting_destroys_the_secrets_also_when_the_store_is_away_for_a_while(
    make: Any, connections: ConnectionsService, principal: Principal, secrets: SecretStore, database: Database
) -> None:
    first = await connections.create(principal, new(), NEVER_ASKED)
    await connections.delete(principal, first.id, None)
    with pytest.raises(SecretNotFound):
        await secrets.read(principal.tenant, f"connections/{first.id}")
    with pytest.raises(ConnectionNotFound):
        await connections.get(principal, first.id)

    class Away(Failing):
        async def erase(self, *_: Any) -> None:
            raise VaultUnavailable("away")

    second = await connections.create(principal, new(), NEVER_ASKED)
    await make(Away(secrets, None)).delete(principal, second.id, None)
    assert (await secrets.read(principal.tenant, f"connections/{second.id}")).fields == GOOD
    assert await connections.upkeep() == 1
    with pytest.raises(SecretNotFound):
        await secrets.read(principal.tenant, f"connections/{second.id}")
    assert await events(database, principal) == ["connection.created", "connection.deleted"] * 2


async def test_a_change_keeps_what_it_does_not_name_and_is_checked(
    connections: ConnectionsService, principal: Principal, secrets: SecretStore
) -> None:
    made = await connections.create(principal, new(), NEVER_ASKED)
    with pytest.raises(CheckFailed):
        await connections.change(principal, made.id, ConnectionChange(config={"api_key": "wrong"}), None)
    assert await connections.get(principal, made.id) == made

    changed = await connections.change(
        principal, made.id, ConnectionChange(name="Other", config={"region": "us", "signing_key": None}), made.version
    )
    assert (changed.name, changed.config, changed.version) == ("Other", {"region": "us"}, made.version + 1)
    assert changed.secrets == {"api_key": True, "signing_key": False}
    assert (await secrets.read(principal.tenant, f"connections/{made.id}")).fields == {"api_key": KEY}
    with pytest.raises(ConnectionChanged):
        await connections.change(principal, made.id, ConnectionChange(name="Third"), made.version)


async def test_two_changes_at_once_cannot_mix(
    connections: ConnectionsService, principal: Principal, secrets: SecretStore
) -> None:
    made = await connections.create(principal, new(), NEVER_ASKED)
    outcomes = await asyncio.gather(
        *(
            connections.change(principal, made.id, ConnectionChange(config={"api_key": f"k{n}"}), None)
            for n in range(5)
        ),
        return_exceptions=True,
    )
    winners = [(outcome.version, n) for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
    assert all(isinstance(outcome, Connection | ConnectionBusy) for outcome in outcomes)
    opened = await connections.connector(principal.tenant, made.id)
    assert opened.config.api_key.reveal() == f"k{max(winners)[1]}"  # type: ignore[attr-defined] # the plugin's own class
    assert opened.version == 1 + len(winners)


async def test_a_change_that_fails_leaves_the_secrets_as_they_were(
    make: Any, connections: ConnectionsService, principal: Principal, secrets: SecretStore, settings: Settings
) -> None:
    made = await connections.create(principal, new(), NEVER_ASKED)

    async def break_it() -> None:
        async with owner(settings.database_url) as connection:
            await connection.execute("ALTER TABLE audit_log RENAME TO audit_log_away")

    change = ConnectionChange(config={"api_key": "replaced"})
    with pytest.raises(Exception, match="audit_log"):
        await make(Failing(secrets, break_it)).change(principal, made.id, change, None)
    opened = await connections.connector(principal.tenant, made.id)
    assert opened.config.api_key.reveal() == KEY  # type: ignore[attr-defined] # the plugin's own class
    with pytest.raises(SecretNotFound):
        await secrets.read(principal.tenant, f"connections/{made.id}", version=2)


async def test_what_a_connector_keeps_is_limited_and_goes_with_the_connection(
    connections: ConnectionsService, principal: Principal, database: Database
) -> None:
    made = await connections.create(principal, new(), NEVER_ASKED)
    state = ConnectionState(database, principal.tenant, made.id)
    for bad in (("", "x"), ("k" * 129, "x"), ("k", "x" * 16385), ("k", "\0")):
        with pytest.raises(ValueError, match=r"a (key|value)"):
            await state.set(*bad)
    for n in range(64):
        await state.set(f"k{n}", "v")
    with pytest.raises(ValueError, match="at most 64"):
        await state.set("one more", "v")
    await state.set("k0", None)
    await state.set("one more", "v")
    assert (await state.get("one more"), await state.get("k0")) == ("v", None)
    full = await connections.check(principal.tenant, made.id)
    assert full.error is not None
    assert full.error.kind == "plugin", "the sixty-fifth value is refused, and the plugin did not expect that"
    await connections.delete(principal, made.id, None)
    assert await state.get("one more") is None


async def test_the_secret_before_verifies_for_a_day_and_is_then_destroyed(
    connections: ConnectionsService, principal: Principal, secrets: SecretStore, settings: Settings
) -> None:
    made = await connections.create(principal, new(), NEVER_ASKED)
    await connections.change(principal, made.id, ConnectionChange(config={"signing_key": "second"}), None)
    await connections.change(principal, made.id, ConnectionChange(config={"region": "us"}), None)
    found = await connections.for_inbound("mailer", made.id)
    assert found is not None
    keys = [config.signing_key.reveal() for config in found.configs]  # type: ignore[attr-defined] # the plugin's own
    assert keys == ["second", "signing-canary"], "a change of something else does not end the overlap"

    async with owner(settings.database_url) as connection:
        await connection.execute("UPDATE connections SET previous_until = now()")
    found = await connections.for_inbound("mailer", made.id)
    assert found is not None
    assert len(found.configs) == 1
    assert await connections.upkeep() == 1
    with pytest.raises(SecretNotFound):
        await secrets.read(principal.tenant, f"connections/{made.id}", version=1)
    assert (await connections.connector(principal.tenant, made.id)).version == 3


async def test_inbound_is_found_by_plugin_and_id_alone(connections: ConnectionsService, principal: Principal) -> None:
    made = await connections.create(principal, new(), NEVER_ASKED)
    chat = await connections.create(principal, new("chat", token="t"), NEVER_ASKED)
    found = await connections.for_inbound("mailer", made.id)
    assert found is not None
    assert (found.tenant, found.id) == (principal.tenant, made.id)
    for plugin, connection_id in (
        ("chat", made.id),
        ("chat", chat.id),
        ("mailer", ids.new("cnx")),
        ("mailer", "x' OR 1=1"),
    ):
        assert await connections.for_inbound(plugin, connection_id) is None


async def test_a25_anothers_connection_is_not_there(
    connections: ConnectionsService, principal: Principal, database: Database
) -> None:
    made = await connections.create(principal, new(), NEVER_ASKED)
    stranger = await make_principal(database)
    for attempt in (
        connections.get(stranger, made.id),
        connections.change(stranger, made.id, ConnectionChange(name="x"), None),
        connections.delete(stranger, made.id, None),
        connections.check(stranger.tenant, made.id),
        connections.connector(stranger.tenant, made.id),
    ):
        with pytest.raises(ConnectionNotFound):
            await attempt
    async with database.tenant(stranger.tenant) as connection:
        with pytest.raises(ConnectionNotFound):
            await connections.pick_email(
                connection, stranger.tenant, stream="marketing", requested=made.id, environment="test"
            )
    assert await connections.get(principal, made.id) == made


async def test_a_connector_is_shared_and_follows_changes(
    make: Any, connections: ConnectionsService, principal: Principal, settings: Settings
) -> None:
    made = await connections.create(principal, new(), NEVER_ASKED)
    elsewhere = make()
    first, second = await asyncio.gather(*(elsewhere.connector(principal.tenant, made.id) for _ in range(2)))
    assert first is second
    assert isinstance(first.connector, EmailProvider)
    message = Message(
        id="eml_1", message_id="m@x", sender=Address("a@b.c"), to=(Address("d@e.f"),), subject="s", text="t"
    )
    assert (await first.connector.send(message)).id == "provider-eml_1"

    await connections.change(principal, made.id, ConnectionChange(config={"region": "us"}), None)
    elsewhere._opener._now = lambda: 1e12
    renewed = await elsewhere.connector(principal.tenant, made.id)
    assert renewed.version == 2
    assert renewed.config.region == "us"
    await connections.change(principal, made.id, ConnectionChange(status="disabled"), None)
    elsewhere._opener._now = lambda: 2e12
    with pytest.raises(ConnectionDisabled):
        await elsewhere.connector(principal.tenant, made.id)
    await elsewhere.close()


async def pick(database: Database, connections: ConnectionsService, principal: Principal, **options: Any) -> str:
    wanted = {"stream": "transactional", "requested": None, "environment": "live", **options}
    async with database.tenant(principal.tenant) as connection:
        return await connections.pick_email(connection, principal.tenant, **wanted)


async def test_mail_goes_by_request_else_by_stream_and_priority(
    connections: ConnectionsService, principal: Principal, database: Database
) -> None:
    with pytest.raises(NoEmailConnection):
        await pick(database, connections, principal)
    chat = await connections.create(principal, new("chat", token="t"), NEVER_ASKED)
    with pytest.raises(NoEmailConnection):
        await pick(database, connections, principal)
    with pytest.raises(NotForEmail):
        await pick(database, connections, principal, requested=chat.id)
    late = await connections.create(principal, NewConnection(plugin="mailer", config=GOOD, priority=200), NEVER_ASKED)
    soon = await connections.create(
        principal, NewConnection(plugin="mailer", config=GOOD, streams=["marketing"], priority=5), NEVER_ASKED
    )
    assert await pick(database, connections, principal) == late.id
    assert await pick(database, connections, principal, stream="marketing") == soon.id
    assert await pick(database, connections, principal, requested=soon.id) == soon.id
    await connections.change(principal, soon.id, ConnectionChange(status="disabled"), None)
    assert await pick(database, connections, principal, stream="marketing") == late.id
    with pytest.raises(ConnectionInactive):
        await pick(database, connections, principal, requested=soon.id)


async def test_a_test_key_always_gets_the_built_in_connection(
    connections: ConnectionsService, principal: Principal, database: Database
) -> None:
    live = await connections.create(principal, new(), NEVER_ASKED)
    picks = await asyncio.gather(
        *(pick(database, connections, principal, environment="test", requested=live.id) for _ in range(5))
    )
    assert len(set(picks)) == 1
    built_in = await connections.get(principal, picks[0])
    assert (built_in.plugin, built_in.built_in) == ("toy", True)
    assert isinstance((await connections.connector(principal.tenant, built_in.id)).connector, EmailProvider)
    assert await pick(database, connections, principal) == live.id, "live mail never goes there by itself"
    with pytest.raises(BuiltIn):
        await connections.delete(principal, built_in.id, None)
    with pytest.raises(BuiltIn):
        await connections.change(principal, built_in.id, ConnectionChange(status="disabled"), None)
    assert await connections.counts(principal.tenant) == {"mailer": 1}


async def test_what_a_call_says_follows_the_effects_of_the_error(
    make: Any, connections: ConnectionsService, principal: Principal, database: Database
) -> None:
    made = await connections.create(principal, new(), NEVER_ASKED)
    tenant = principal.tenant
    await connections.report(tenant, made.id, None)
    await connections.report(tenant, made.id, NetworkFailed("No route."))
    assert (await connections.get(principal, made.id)).status == "active"
    for _ in range(3):
        await connections.report(tenant, made.id, AuthExpired("Reconnect.", code="401"))
    broken = await connections.get(principal, made.id)
    assert broken.status == "error"
    assert broken.error is not None
    assert (broken.error.kind, broken.error.code, broken.error.detail) == ("authentication", "401", "Reconnect.")
    assert broken.error.incident
    await make().report(tenant, made.id, None)
    assert (await connections.get(principal, made.id)).status == "active"
    for _ in range(3):
        await connections.report(tenant, made.id, QuotaExceeded("Used up."))
    assert (await connections.get(principal, made.id)).status == "active"
    assert await events(database, principal) == [
        "connection.created",
        "connection.error",
        "connection.recovered",
        "connection.error",
    ]


async def test_a_success_costs_nothing_and_ends_a_trouble(
    connections: ConnectionsService, principal: Principal
) -> None:
    made = await connections.create(principal, new(), NEVER_ASKED)
    await connections.connector(principal.tenant, made.id)
    await connections.report(principal.tenant, made.id, QuotaExceeded("Used up."))
    connections._opener._now = lambda: 1e12
    await connections.connector(principal.tenant, made.id)
    await connections.report(principal.tenant, made.id, None)
    assert (await connections.get(principal, made.id)).error is None


async def test_a_destination_takes_events_and_its_errors_count(
    connections: ConnectionsService, principal: Principal
) -> None:
    event = Event(id="evt_1", type="x.y", timestamp="2026-01-01T00:00:00Z")
    chat = await connections.create(principal, new("chat", token="t"), NEVER_ASKED)
    await connections.deliver(principal.tenant, chat.id, event)
    await connections.change(principal, chat.id, ConnectionChange(config={"token": "revoked"}), None)
    with pytest.raises(AuthExpired):
        await connections.deliver(principal.tenant, chat.id, event)
    assert (await connections.get(principal, chat.id)).status == "error"
    await connections.change(principal, chat.id, ConnectionChange(config={"token": "fresh"}), None)
    assert (await connections.get(principal, chat.id)).status == "active"


async def test_pages_of_connections(connections: ConnectionsService, principal: Principal, database: Database) -> None:
    made = [(await connections.create(principal, new(), NEVER_ASKED)).id for _ in range(5)]
    pager, seen, cursor = Pager(b"k" * 32), [], None
    while True:
        paging = pager.paging(tenant=principal.tenant, route="connections", limit=2, cursor=cursor)
        page = await connections.page(principal, paging)
        seen += [connection.id for connection in page.data]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == made[::-1]
    paging = pager.paging(tenant=principal.tenant, route="connections", limit=2, offset=1)
    assert (await connections.page(principal, paging, plugin="chat")).total == 0
