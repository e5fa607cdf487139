"""A connection as the API and its events show it."""

import msgspec
from penguin_hub_sdk import config as configs

from penguin_hub.connections.schemas import Connection, LastCheck, Row
from penguin_hub.events.schemas import NewEvent
from penguin_hub.plugins.service import PluginsService


class Views:
    """Knows what a row does not: the plugin, and where this hub is reached."""

    def __init__(self, plugins: PluginsService, public_url: str) -> None:
        self._plugins = plugins
        self._public_url = public_url

    def event(self, kind: str, row: Row) -> NewEvent:
        return NewEvent(type=kind, data=msgspec.to_builtins(self.of(row)), workspace=row.workspace, subject=row.id)

    def of(self, row: Row) -> Connection:
        loaded = self._plugins.find(row.plugin)
        plugin = loaded.plugin if loaded is not None else None
        secret = configs.secret_fields(plugin.config) if plugin is not None else frozenset(row.secrets)
        takes = plugin is not None and plugin.webhook is not None
        last = None
        if row.checked_at is not None and row.check_ok is not None and row.check_ms is not None:
            last = LastCheck(row.checked_at, row.check_ok, row.check_ms)
        return Connection(
            id=row.id,
            workspace=row.workspace,
            plugin=row.plugin,
            name=row.name,
            status=row.status,
            error=row.error,
            error_at=row.error_at,
            config=row.config,
            secrets={name: name in row.secrets for name in sorted(secret)},
            streams=row.streams,
            priority=row.priority,
            built_in=row.built_in,
            capabilities=loaded.capabilities if loaded is not None and plugin is not None else None,
            webhook_url=f"{self._public_url}/api/webhooks/{row.plugin}/{row.id}" if takes else None,
            last_check=last,
            created_at=row.created_at,
            updated_at=row.updated_at,
            version=row.version,
        )
