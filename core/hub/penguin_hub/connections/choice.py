"""Which connection carries a message: the one asked for, else the first that fits."""

from penguin_hub.connections import store
from penguin_hub.connections.errors import (
    ConnectionInactive,
    ConnectionNotFound,
    NoEmailConnection,
    NoSimulator,
    NotForEmail,
)
from penguin_hub.platform import ids
from penguin_hub.platform.db import Connection
from penguin_hub.plugins.service import PluginsService


class Chooser:
    """Everything here runs in the caller's transaction."""

    def __init__(self, plugins: PluginsService) -> None:
        self._plugins = plugins

    async def email(
        self, connection: Connection, tenant: str, *, stream: str, requested: str | None, environment: str
    ) -> str:
        """See `ConnectionsService.pick_email`."""
        if requested is not None:
            await self._requested(connection, tenant, requested)
        if environment == "test":
            return await self._built_in(connection, tenant)
        if requested is not None:
            return requested
        senders = [loaded.id for loaded in self._plugins.active() if loaded.capabilities.sends_email]
        chosen = await store.choose(connection, tenant, senders, stream)
        if chosen is None:
            raise NoEmailConnection.field(
                "#/connection", "missing", f"There is no active connection that sends {stream} mail: make one first."
            )
        return chosen

    async def _requested(self, connection: Connection, tenant: str, requested: str) -> None:
        row = await store.get(connection, tenant, requested) if ids.is_id(requested, "cnx") else None
        if row is None:
            raise ConnectionNotFound("There is no such connection.")
        loaded = self._plugins.find(row.plugin)
        if loaded is None or not loaded.capabilities.sends_email:
            raise NotForEmail.field("#/connection", "kind", "This connection does not send mail.")
        if row.status != "active":
            raise ConnectionInactive.field("#/connection", "status", f"This connection's status is {row.status}.")

    async def _built_in(self, connection: Connection, tenant: str) -> str:
        found = await store.built_in(connection, tenant)
        if found is not None:
            return found
        simulator = self._plugins.simulator
        if simulator is None:
            raise NoSimulator("No plugin is installed that carries what test keys send.", retry_after=3600)
        name = self._plugins.working(simulator).manifest.name
        return await store.ensure_built_in(connection, tenant, ids.new("cnx"), simulator.id, name)
