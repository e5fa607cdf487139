"""The inventory: which plugins this process has."""

from collections.abc import Sequence
from typing import Any

from penguin_hub_sdk.hooks import Plugin

from penguin_hub.plugins import discovery
from penguin_hub.plugins.calls import Calls
from penguin_hub.plugins.errors import PluginIncompatible, PluginNotFound, PluginUnavailable
from penguin_hub.plugins.loader import PLUGINS, Loader
from penguin_hub.plugins.schemas import Loaded


class PluginsService:
    """Made once when a process starts; what it holds does not change."""

    def __init__(self, loaded: Sequence[Loaded]) -> None:
        self._all = sorted(loaded, key=lambda plugin: (plugin.id, plugin.state))
        # Of two that claim one id at most one is active, and that one answers to the id.
        self._by_id = {plugin.id: plugin for plugin in reversed(self._all)}

    @classmethod
    def load(cls, path: Sequence[str] | None = None) -> "PluginsService":
        """Find and load all plugins on `path` (None: `sys.path`). Never fails because of a plugin."""
        loader = Loader(Calls())
        service = cls([loader.load(candidate) for candidate in discovery.find(path)])
        for state in ("active", "failed"):
            PLUGINS.labels(state).set(sum(plugin.state == state for plugin in service.all()))
        return service

    def all(self) -> list[Loaded]:
        """Everything that was found, by id; what failed says why, with its traceback, which is for the operator."""
        return list(self._all)

    def active(self) -> list[Loaded]:
        return [plugin for plugin in self._all if plugin.plugin is not None]

    def find(self, plugin_id: str) -> Loaded | None:
        return self._by_id.get(plugin_id)

    def get(self, plugin_id: str) -> Loaded:
        """Raises PluginNotFound."""
        found = self.find(plugin_id)
        if found is None:
            raise PluginNotFound("There is no such plugin.")
        return found

    def usable(self, plugin_id: str) -> Loaded:
        """One that works. Raises PluginNotFound, PluginIncompatible, PluginUnavailable."""
        found = self.get(plugin_id)
        failure = found.failure
        if failure is not None and failure.reason == "version":
            raise PluginIncompatible(failure.detail, requires_hub=failure.requires_hub, hub=discovery.hub_version())
        self.working(found)
        return found

    def working(self, loaded: Loaded) -> Plugin[Any]:
        """The plugin's value. Raises PluginUnavailable."""
        if loaded.plugin is None:
            raise PluginUnavailable("This plugin is installed and failed to load; the operator can see why.")
        return loaded.plugin

    @property
    def simulator(self) -> Loaded | None:
        """The plugin that says that nothing leaves the machine through it: it carries what test keys send."""
        return next((found for found in self.active() if found.plugin and found.plugin.manifest.sandbox), None)
