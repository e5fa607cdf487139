"""From a row to a connector that works: the secrets read, the configuration decoded, network and surroundings made.

An open connection is kept for the process and looked up again at most once a second, so a change takes effect
everywhere within that time, and in the process that made it at once.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec
from penguin_hub_sdk import config as configs
from penguin_hub_sdk.config import Config, secret_values
from penguin_hub_sdk.connectors import Connector
from penguin_hub_sdk.context import Context
from penguin_hub_sdk.errors import ConfigInvalid
from penguin_hub_sdk.hooks import Plugin
from penguin_hub_sdk.http import Breakers, Http, HttpPolicy
from penguin_hub_sdk.tcp import Tcp

from penguin_hub.connections import store
from penguin_hub.connections.errors import ConnectionDisabled, ConnectionNotFound
from penguin_hub.connections.schemas import InboundConnection, OpenConnection, Row
from penguin_hub.connections.surroundings import ConnectionLog, ConnectionState, DraftState
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import Unavailable
from penguin_hub.plugins.schemas import Loaded
from penguin_hub.plugins.service import PluginsService
from penguin_hub.settings import Settings
from penguin_hub.vault.service import SecretStore

FRESH_SECONDS: Final = 1.0
MOST: Final = 2_000
"""Connections that a process keeps open; past that the longest unused goes."""
RETIRE_SECONDS: Final = 150.0
"""How long a replaced connector keeps its sockets: longer than the longest call of one."""


class _Entry:
    __slots__ = ("http", "open", "seen", "troubled")

    def __init__(self, opened: OpenConnection, http: Http, row: Row, seen: float) -> None:
        self.open = opened
        self.http = http
        self.seen = seen
        self.troubled = row.error is not None


class Opener:
    """The open connections of one process."""

    def __init__(
        self,
        database: Database,
        secrets: SecretStore,
        plugins: PluginsService,
        settings: Settings,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._plugins = plugins
        self._settings = settings
        self._now = now
        self._breakers = Breakers()
        self._open: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._inbound: OrderedDict[tuple[str, int], list[Config]] = OrderedDict()
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._retired: set[asyncio.Task[None]] = set()

    async def open(self, tenant: str, connection_id: str) -> OpenConnection:
        """Raises ConnectionNotFound, ConnectionDisabled, PluginUnavailable, ConfigInvalid (the configuration no longer
        fits the plugin), and what the database and the secret store raise when they are away."""
        key = tenant, connection_id
        if (found := self._fresh(key)) is not None:
            return found
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            if (found := self._fresh(key)) is not None:
                return found
            row = await self._row(tenant, connection_id)
            if row.status == "disabled":
                self.forget(tenant, connection_id)
                raise ConnectionDisabled("This connection is switched off.")
            entry = self._open.get(key)
            if entry is None or entry.open.version != row.version:
                self.forget(tenant, connection_id)
                entry = self._open[key] = await self._entry(row)
                self._shrink()
            elif entry.open.status != row.status:
                entry.open = msgspec.structs.replace(entry.open, status=row.status)
            entry.seen, entry.troubled = self._now(), row.error is not None
            return entry.open

    def untroubled(self, tenant: str, connection_id: str) -> bool:
        """Whether it is known, without asking, that nothing is wrong with the connection."""
        entry = self._open.get((tenant, connection_id))
        return entry is not None and not entry.troubled

    def forget(self, tenant: str, connection_id: str) -> None:
        """It changed: the next caller gets it anew."""
        entry = self._open.pop((tenant, connection_id), None)
        if entry is not None:
            self._retire(entry.http)

    def build(
        self, loaded: Loaded, tenant: str, connection_id: str, config: Config, *, draft: bool = False
    ) -> tuple[Plugin[Any], Connector, Http]:
        """A connector that nobody else has; whoever asked for it closes the Http. `draft`: the configuration is not
        saved, and what the connector wants to remember is forgotten with it. Raises PluginError."""
        plugin = self._plugins.working(loaded)
        allow = self._settings.destination_allow
        policy = HttpPolicy.of(
            plugin.manifest, config, errors=plugin.errors, overrides=self._settings.provider_overrides, allow=allow
        )
        http = Http(policy, config, breakers=self._breakers)
        context = Context(
            connection=connection_id,
            config=config,
            http=http,
            net=Tcp(plugin.manifest, config, allow=allow),
            state=DraftState() if draft else ConnectionState(self._database, tenant, connection_id),
            log=ConnectionLog(plugin.manifest.id, connection_id, tenant, tuple(secret_values(config))),
        )
        return plugin, plugin.connect(context), http

    async def inbound(self, plugin_id: str, connection_id: str) -> InboundConnection | None:
        """What a provider's request is checked with; None when there is no such thing to send to. Raises Unavailable
        when it is there and cannot be used now, so that the provider tries again."""
        if not ids.is_id(connection_id, "cnx"):
            return None
        async with self._database.system() as connection:
            row = await store.find(connection, connection_id)
        if row is None or row.plugin != plugin_id:
            return None
        loaded = self._plugins.find(plugin_id)
        if loaded is None or loaded.plugin is None:
            raise Unavailable("The plugin of this connection is not there now.", retry_after=60)
        if loaded.plugin.webhook is None:
            return None
        found = await self._both(row, loaded.plugin)
        return InboundConnection(
            tenant=row.tenant, workspace=row.workspace, id=row.id, plugin=loaded.plugin, configs=found
        )

    async def values(self, row: Row) -> dict[str, Any]:
        """The whole configuration in plain values. Raises what the secret store raises."""
        return await self._values(row, row.config, row.secret_version)

    async def close(self) -> None:
        for task in list(self._retired):
            task.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        for key in list(self._open):
            await self._open.pop(key).http.aclose()

    def _fresh(self, key: tuple[str, str]) -> OpenConnection | None:
        entry = self._open.get(key)
        if entry is None or self._now() - entry.seen >= FRESH_SECONDS:
            return None
        self._open.move_to_end(key)
        return entry.open

    async def _row(self, tenant: str, connection_id: str) -> Row:
        if not ids.is_id(connection_id, "cnx"):
            raise ConnectionNotFound("There is no such connection.")
        async with self._database.tenant(tenant) as connection:
            row = await store.get(connection, tenant, connection_id)
        if row is None:
            self.forget(tenant, connection_id)
            raise ConnectionNotFound("There is no such connection.")
        return row

    async def _entry(self, row: Row) -> _Entry:
        loaded = self._plugins.usable(row.plugin)
        config = _decoded(self._plugins.working(loaded), await self.values(row))
        plugin, connector, http = self.build(loaded, row.tenant, row.id, config)
        opened = OpenConnection(
            id=row.id,
            tenant=row.tenant,
            workspace=row.workspace,
            version=row.version,
            status=row.status,
            plugin=plugin,
            capabilities=loaded.capabilities,
            config=config,
            connector=connector,
        )
        return _Entry(opened, http, row, self._now())

    async def _both(self, row: Row, plugin: Plugin[Any]) -> list[Config]:
        """The current configuration and, while it may still be in use at the provider, the one before."""
        key = row.id, row.version
        found = self._inbound.get(key)
        if found is None:
            found = [_decoded(plugin, await self.values(row))]
            if row.previous is not None:
                before = await self._values(row, row.previous.config, row.previous.secret_version)
                found.append(_decoded(plugin, before))
            self._inbound[key] = found
            if len(self._inbound) > MOST:
                self._inbound.popitem(last=False)
        still = row.previous_until is not None and row.previous_until > clock.now()
        return found if still else found[:1]

    async def _values(self, row: Row, config: Mapping[str, Any], version: int) -> dict[str, Any]:
        if version == 0:
            return dict(config)
        secret = await self._secrets.read(row.tenant, path(row.id), version=version)
        return {**config, **secret.fields}

    def _shrink(self) -> None:
        while len(self._open) > MOST:
            _, entry = self._open.popitem(last=False)
            self._retire(entry.http)

    def _retire(self, http: Http) -> None:
        """Close it when nobody can be using it any more."""

        async def later() -> None:
            try:
                await asyncio.sleep(RETIRE_SECONDS)
            finally:
                await http.aclose()

        task = asyncio.get_running_loop().create_task(later())
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)


def path(connection_id: str) -> str:
    """Where the secrets of a connection lie, in the tenant's part of the store."""
    return f"connections/{connection_id}"


def _decoded(plugin: Plugin[Any], values: Mapping[str, Any]) -> Config:
    """What was stored, as the plugin of today reads it: an upgrade may ask for more than was saved."""
    try:
        config: Config = configs.decode(plugin.config, values)
    except msgspec.ValidationError as error:
        raise ConfigInvalid(
            f"The plugin has changed and the configuration does not fit it any more: {error}."
        ) from error
    return config
