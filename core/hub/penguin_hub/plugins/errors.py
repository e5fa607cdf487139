"""What may go wrong with plugins: what a client hears, and what the callers of a plugin's code hear."""

from penguin_hub_sdk.errors import Effect, PluginError

from penguin_hub.platform.errors import Conflict, NotFound


class PluginNotFound(NotFound):
    code = "plugin_not_found"


class PluginUnavailable(Conflict):
    """It is installed and cannot be used: it failed to load, or its author took it out of service."""

    code = "plugin_unavailable"


class PluginIncompatible(Conflict):
    """It needs another version of the hub; `requires_hub` and `hub` name both."""

    code = "plugin_incompatible"


class PluginFault(PluginError):
    """The plugin itself is at fault, not the provider. `incident` is what the log has it under."""

    effect = Effect("plugin", retryable=True, connection="active", notify=False, breaker=True)

    def __init__(self, detail: str, *, incident: str, retry_after: float | None = None, code: str) -> None:
        super().__init__(detail, code=code, retry_after=retry_after)
        self.incident = incident


class PluginCrashed(PluginFault):
    """It raised something that it must not raise."""


class PluginMisbehaved(PluginFault):
    """It returned something other than it promised."""


class PluginTimeout(PluginFault):
    """It did not return in time. Whether the provider has heard of the call is not known."""


class PluginPaused(PluginFault):
    """It failed too often a moment ago and is not called now; `retry_after` says when it is tried again."""
