"""The rules of connections. Each change, its audit entry and its event are one transaction."""

import time
from datetime import timedelta
from typing import Any, Final

import msgspec
from penguin_hub_sdk.config import Config
from penguin_hub_sdk.connectors import Destination, Event
from penguin_hub_sdk.errors import ConfigInvalid, PluginError

from penguin_hub.audit.service import AuditService
from penguin_hub.connections import configuration, store, store_upkeep
from penguin_hub.connections.choice import Chooser
from penguin_hub.connections.errors import (
    BuiltIn,
    ConnectionBusy,
    ConnectionChanged,
    ConnectionNotFound,
    NotADestination,
)
from penguin_hub.connections.health import Health, elapsed
from penguin_hub.connections.keeping import Keeper
from penguin_hub.connections.opening import Opener
from penguin_hub.connections.schemas import (
    CheckResult,
    Connection,
    ConnectionChange,
    InboundConnection,
    NewConnection,
    OpenConnection,
    Previous,
    Row,
)
from penguin_hub.connections.views import Views
from penguin_hub.events.service import EventsService
from penguin_hub.http.etags import etag
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Page, Paging
from penguin_hub.http.principal import Principal
from penguin_hub.platform import clock, db, ids
from penguin_hub.platform.db import Database
from penguin_hub.plugins.errors import PluginUnavailable
from penguin_hub.plugins.schemas import Loaded
from penguin_hub.plugins.service import PluginsService
from penguin_hub.settings import Settings
from penguin_hub.vault.service import SecretStore

OVERLAP: Final = timedelta(hours=24)
"""How long a provider may go on signing its requests with the secrets that were replaced."""
CHECK_EVERY: Final = timedelta(minutes=10)


class ConnectionsService:
    def __init__(
        self,
        database: Database,
        secrets: SecretStore,
        plugins: PluginsService,
        events: EventsService,
        audit: AuditService,
        settings: Settings,
    ) -> None:
        self._database = database
        self._plugins = plugins
        self._events = events
        self._audit = audit
        self._keeper = Keeper(database, secrets)
        self._opener = Opener(database, secrets, plugins, settings)
        self._views = Views(plugins, settings.public_url)
        self._health = Health(database, events, self._opener, self._views)
        self._chooser = Chooser(plugins)

    async def close(self) -> None:
        """Close every open connection's sockets."""
        await self._opener.close()

    # What clients ask for.

    async def create(self, principal: Principal, new: NewConnection, once: Once) -> Connection:
        """Checked before it is saved. Raises PluginNotFound, PluginUnavailable, PluginIncompatible, BuiltIn, Invalid,
        CheckFailed, PluginFailed, and what `once` raises for a repeated request."""
        async with self._database.tenant(principal.tenant) as connection:
            await once.begin(connection)  # A repetition need not ask the provider again.
        loaded = self._installable(new.plugin)
        plugin = self._plugins.working(loaded)
        connection_id, tenant = ids.new("cnx"), principal.tenant
        config = configuration.decode(plugin, new.config)
        checked = await self._checked(loaded, tenant, connection_id, config)
        parts = configuration.parts(config)
        now = clock.now()
        try:
            version = await self._keeper.first(tenant, connection_id, parts.secret) if parts.secret else 0
            row = Row(
                tenant=tenant,
                id=connection_id,
                workspace=principal.workspace,
                plugin=loaded.id,
                name=new.name or plugin.manifest.name,
                config=parts.plain,
                secrets=sorted(parts.secret),
                secret_version=version,
                previous=None,
                previous_until=None,
                status="active",
                error=None,
                error_at=None,
                streams=list(dict.fromkeys(new.streams)),
                priority=new.priority,
                built_in=False,
                checked_at=now,
                check_ok=True,
                check_ms=checked,
                version=1,
                created_at=now,
                updated_at=now,
            )
            async with self._database.tenant(tenant) as connection:
                await once.begin(connection)
                row = await store.insert(connection, tenant, row, now + CHECK_EVERY)
                if version and not await store_upkeep.drop_leftover(connection, tenant, connection_id):
                    raise ConnectionBusy("Saving took so long that it was given up; try again.")
                await self._record(connection, principal, "connection.created", row, plugin=loaded.id)
                view = self._views.of(row)
                await once.keep(connection, view, status=201, headers={"ETag": etag(view.version)})
        except BaseException:
            await self._keeper.settle(tenant, connection_id)
            raise
        return view

    async def get(self, principal: Principal, connection_id: str) -> Connection:
        """Raises ConnectionNotFound."""
        return self._views.of(await self._row(principal.tenant, connection_id))

    async def page(
        self, principal: Principal, paging: Paging, *, plugin: str | None = None, status: str | None = None
    ) -> Page[Connection]:
        tenant = principal.tenant
        async with self._database.tenant(tenant) as connection:
            rows = await store.page(connection, tenant, paging, plugin=plugin, status=status)
            total = None
            if paging.offset is not None:
                total = await store.count(connection, tenant, plugin=plugin, status=status)
        views = [self._views.of(row) for row in rows]
        return paging.page(views, lambda view: (getattr(view, paging.sort_by), view.id), total)

    async def change(
        self, principal: Principal, connection_id: str, change: ConnectionChange, version: int | None
    ) -> Connection:
        """A changed configuration is checked before it is saved. Raises what `create` raises, ConnectionNotFound,
        ConnectionChanged, ConnectionBusy, BuiltIn."""
        tenant = principal.tenant
        row = await self._row(tenant, connection_id)
        _expect(row, version)
        if row.built_in:
            raise BuiltIn("The connection for test keys is what it is.")
        given = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not msgspec.UNSET}
        fields = given.pop("config", None)
        if "streams" in given:
            given["streams"] = list(dict.fromkeys(given["streams"]))
        if given.get("status") == "active":
            given |= {"error": None, "error_at": None}
        if fields is not None:
            given = {**await self._reconfigured(row, fields), **given}
        if not given:
            return self._views.of(row)
        written = given.get("secret_version", row.secret_version) > row.secret_version
        try:
            async with self._database.tenant(tenant) as connection:
                changed = await store.update(connection, tenant, row.id, given, row.version)
                if changed is None:
                    raise _busy()
                names = sorted({*(given.keys() & {"name", "streams", "priority", "status"}), *(fields or ())})
                await self._record(connection, principal, "connection.updated", changed, changed=names)
        except BaseException:
            if written:
                await self._keeper.withdraw(tenant, row.id, given["secret_version"])
            raise
        self._opener.forget(tenant, row.id)
        if written:
            await self._keeper.replaced(tenant, row.id, changed.secret_version, row.secret_version)
        return self._views.of(changed)

    async def delete(self, principal: Principal, connection_id: str, version: int | None) -> None:
        """With its secrets, for good. Raises ConnectionNotFound, ConnectionChanged, ConnectionBusy, BuiltIn."""
        tenant = principal.tenant
        row = await self._row(tenant, connection_id)
        _expect(row, version)
        if row.built_in:
            raise BuiltIn("The connection for test keys stays.")
        async with self._database.tenant(tenant) as connection:
            if not await store.delete(connection, tenant, row.id, row.version):
                raise ConnectionBusy(
                    "Somebody else changed this connection at the same time; read it again and repeat."
                )
            if row.secret_version:
                await store_upkeep.note_leftover(connection, tenant, row.id, clock.now())
            await self._record(connection, principal, "connection.deleted", row, plugin=row.plugin)
        self._opener.forget(tenant, row.id)
        await self._keeper.settle(tenant, row.id)

    async def checks(self, principal: Principal, connection_id: str, paging: Paging) -> Page[CheckResult]:
        """The health of the last weeks. Raises ConnectionNotFound."""
        row = await self._row(principal.tenant, connection_id)
        async with self._database.tenant(row.tenant) as connection:
            found = await store_upkeep.checks(connection, row.tenant, row.id, paging)
            total = None
            if paging.offset is not None:
                total = await store_upkeep.count_checks(connection, row.tenant, row.id)
        return paging.page(found, lambda check: (check.at, check.id), total)

    async def check(self, tenant: str, connection_id: str) -> CheckResult:
        """Ask the provider whether the connection works, keep the answer, and draw the consequences.

        Raises ConnectionNotFound, ConnectionDisabled, PluginUnavailable, and what the database and the secret store
        raise when they are away: then nothing is known of the connection.
        """
        return await self._health.check(tenant, connection_id)

    async def counts(self, tenant: str) -> dict[str, int]:
        """How many connections the tenant has, by plugin."""
        async with self._database.tenant(tenant) as connection:
            return await store.count_by_plugin(connection, tenant)

    # What the rest of the hub asks for.

    async def connector(self, tenant: str, connection_id: str) -> OpenConnection:
        """A connection ready for use; cheap to ask for each time. Raises ConnectionNotFound, ConnectionDisabled,
        PluginUnavailable, ConfigInvalid, and what the database and the secret store raise when they are away."""
        return await self._opener.open(tenant, connection_id)

    async def for_inbound(self, plugin_id: str, connection_id: str) -> InboundConnection | None:
        """See `Opener.inbound`. A configuration the plugin cannot read any more is Unavailable too."""
        try:
            return await self._opener.inbound(plugin_id, connection_id)
        except ConfigInvalid as error:
            raise PluginUnavailable(error.detail) from error

    async def pick_email(
        self, connection: db.Connection, tenant: str, *, stream: str, requested: str | None, environment: str
    ) -> str:
        """The connection that carries a message, in the caller's transaction.

        Test keys always get the built-in one; what they request must exist all the same. Raises ConnectionNotFound,
        NotForEmail, ConnectionInactive, NoEmailConnection, NoSimulator.
        """
        return await self._chooser.email(
            connection, tenant, stream=stream, requested=requested, environment=environment
        )

    async def deliver(self, tenant: str, connection_id: str, event: Event) -> None:
        """Hand an event to a connection that is a destination, and report how it went. Raises what `connector` raises,
        NotADestination, and PluginError."""
        opened = await self._opener.open(tenant, connection_id)
        if not isinstance(opened.connector, Destination):
            raise NotADestination("This connection takes no events.")
        try:
            await opened.connector.deliver(event)
        except PluginError as error:
            await self._health.report(tenant, connection_id, error)
            raise
        await self._health.report(tenant, connection_id, None)

    async def report(self, tenant: str, connection_id: str, error: PluginError | None) -> None:
        """What a call of the connection says about it (None: it worked). Follows the effects of the error's type: the
        status until the next success, and an event when the tenant is to be told. Costs nothing when all is well."""
        await self._health.report(tenant, connection_id, error)

    async def upkeep(self) -> int:
        """Erase secrets that belong to nobody and forget old ones and old checks; gives how many."""
        done = await self._keeper.upkeep()
        async with self._database.system() as connection:
            return done + await store_upkeep.drop_checks(connection, clock.now() - timedelta(days=30))

    async def due_checks(self, limit: int) -> list[tuple[str, str]]:
        """(tenant, connection) whose turn it is; nobody else gets them until the next turn."""
        async with self._database.system() as connection:
            return await store_upkeep.claim_checks(connection, limit, CHECK_EVERY.total_seconds())

    # Inside.

    def _installable(self, plugin_id: str) -> Loaded:
        loaded = self._plugins.usable(plugin_id)
        manifest = self._plugins.working(loaded).manifest
        if manifest.sandbox:
            raise BuiltIn("Every tenant has a connection to this plugin; test keys use it by themselves.")
        if manifest.status in ("inactive", "deprecated"):
            raise PluginUnavailable(f"This plugin is {manifest.status}: no new connections are made.")
        return loaded

    async def _checked(self, loaded: Loaded, tenant: str, connection_id: str, config: Config) -> int:
        """Milliseconds the provider took to say yes. Raises CheckFailed, PluginFailed."""
        started = time.monotonic()
        try:
            _, connector, http = self._opener.build(loaded, tenant, connection_id, config, draft=True)
            try:
                await connector.check()
            finally:
                await http.aclose()
        except PluginError as error:
            raise configuration.refusal(error, type(config)) from None
        return elapsed(started)

    async def _reconfigured(self, row: Row, fields: dict[str, Any]) -> dict[str, Any]:
        """The columns of a new configuration, checked with the provider; its secrets are written already."""
        loaded = self._plugins.usable(row.plugin)
        values = await self._opener.values(row)
        config = configuration.decode(self._plugins.working(loaded), configuration.merged(values, fields))
        await self._checked(loaded, row.tenant, row.id, config)
        parts = configuration.parts(config)
        changes: dict[str, Any] = {"config": parts.plain, "error": None, "error_at": None}
        if row.status == "error":
            changes["status"] = "active"
        if parts.secret == {name: values[name] for name in row.secrets}:
            return changes
        version = await self._keeper.next(row.tenant, row.id, parts.secret) if parts.secret else 0
        before = msgspec.to_builtins(Previous(row.config, row.secret_version))
        return changes | {
            "secrets": sorted(parts.secret),
            "secret_version": version,
            "previous": before,
            "previous_until": clock.now() + OVERLAP,
        }

    async def _row(self, tenant: str, connection_id: str) -> Row:
        if ids.is_id(connection_id, "cnx"):
            async with self._database.tenant(tenant) as connection:
                row = await store.get(connection, tenant, connection_id)
            if row is not None:
                return row
        raise ConnectionNotFound("There is no such connection.")

    async def _record(
        self, connection: db.Connection, principal: Principal, action: str, row: Row, **detail: Any
    ) -> None:
        await self._audit.add(
            connection, principal.tenant, actor=principal.actor, action=action, target=row.id, **detail
        )
        await self._events.add(connection, row.tenant, self._views.event(action, row))


def _expect(row: Row, version: int | None) -> None:
    if version is not None and version != row.version:
        raise ConnectionChanged("Somebody else changed this connection; read it again and repeat your change.")


def _busy() -> ConnectionBusy:
    return ConnectionBusy("Somebody else changed this connection at the same time; read it again and repeat.")
