"""Endpoints that are connections: the tenant's events go to a connector instead of a URL."""

from penguin_hub_sdk.connectors import Destination, Event
from penguin_hub_sdk.errors import ConfigInvalid, PluginError

from penguin_hub.connections.service import ConnectionsService
from penguin_hub.platform.errors import NotFound


class ConnectedDestinations:
    """Checks and serves them, by way of the connections feature."""

    def __init__(self, connections: ConnectionsService) -> None:
        self._connections = connections

    async def accepts_events(self, tenant: str, connection: str) -> bool:
        """Raises what opening a connection raises, but for one that does not exist."""
        try:
            opened = await self._connections.connector(tenant, connection)
        except NotFound:
            return False
        return isinstance(opened.connector, Destination)

    async def deliver(self, tenant: str, connection: str, event: Event) -> None:
        """Raises PluginError, and what opening a connection raises. Either way the connection's status follows."""
        opened = await self._connections.connector(tenant, connection)
        if not isinstance(opened.connector, Destination):
            raise ConfigInvalid("This connection does not take events.")
        try:
            await opened.connector.deliver(event)
        except PluginError as error:
            await self._connections.report(tenant, connection, error)
            raise
        await self._connections.report(tenant, connection, None)
