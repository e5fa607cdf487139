"""Plugins as clients see them, and as the rest of the hub gets them."""

from typing import Any, Literal

import msgspec
from penguin_hub_sdk.hooks import Plugin
from penguin_hub_sdk.manifest import Manifest

State = Literal["active", "failed"]
Reason = Literal["import", "dependency", "signature", "duplicate", "contract", "version"]


class Failure(msgspec.Struct, frozen=True):
    """Why a plugin is not there."""

    reason: Reason
    detail: str
    """One sentence for anybody."""
    traceback: str | None = None
    """For the operator alone: it may show paths and values."""
    requires_hub: str | None = None
    """The range it asks for, when that is the reason."""


class Capabilities(msgspec.Struct, frozen=True):
    """What a plugin can do, by the shape of its connector."""

    sends_email: bool = False
    batch: int = 1
    """Messages that one call to the provider takes."""
    destination: bool = False
    """Takes the tenant's events: `POST /webhooks {"connection": ...}`."""
    webhook: bool = False
    """Understands the provider's requests to us; a connection shows its `webhook_url`."""


class PluginView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One plugin in the inventory."""

    id: str
    state: State
    version: str
    name: str | None = None
    category: str | None = None
    summary: str | None = None
    manifest: Manifest | None = None
    config_schema: dict[str, Any] | None = None
    """JSON Schema 2020-12 of `config` in `POST /connections`; secrets are `writeOnly`."""
    capabilities: Capabilities | None = None
    failure: str | None = None
    """Why it is not active: `import`, `dependency`, `signature`, `duplicate`, `contract` or `version`."""
    detail: str | None = None
    traceback: str | None = None
    """Only on the operator's own command line, never over HTTP."""


class PluginList(msgspec.Struct, frozen=True):
    """All plugins: there are never so many that they need pages."""

    data: list[PluginView]
    has_more: bool = False
    next_cursor: str | None = None


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin in this process: what became of a candidate."""

    id: str
    distribution: str
    version: str
    package: str
    """Its top-level package, by which its code is recognised in a stack."""
    publisher: str | None = None
    readme: str | None = None
    plugin: Plugin[Any] | None = None
    """Guarded: its functions may be called like any others (see `guard`). None when it failed."""
    failure: Failure | None = None
    capabilities: Capabilities = Capabilities()
    config_schema: dict[str, Any] = {}
    secrets: frozenset[str] = frozenset()

    @property
    def state(self) -> State:
        return "failed" if self.plugin is None else "active"

    def view(self, *, operator: bool = False) -> PluginView:
        """As any client may see it; with the traceback for the operator, because that may show paths and values."""
        if self.plugin is None:
            failure = self.failure or Failure("contract", "It did not load.")
            text = failure.traceback if operator else None
            return PluginView(
                self.id, "failed", self.version, failure=failure.reason, detail=failure.detail, traceback=text
            )
        manifest = self.plugin.manifest
        return PluginView(
            id=self.id,
            state="active",
            version=manifest.version,
            name=manifest.name,
            category=manifest.category,
            summary=manifest.summary,
            manifest=manifest,
            config_schema=self.config_schema,
            capabilities=self.capabilities,
        )
