"""Connections as clients send and see them, and as the rest of the hub gets them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from penguin_hub_sdk.config import Config
from penguin_hub_sdk.connectors import Connector
from penguin_hub_sdk.hooks import Plugin

from penguin_hub.http.bodies import Input
from penguin_hub.plugins.schemas import Capabilities

Status = Literal["active", "error", "maintenance", "disabled"]
Stream = Literal["transactional", "marketing"]

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["Main"])]
Values = Annotated[
    dict[Annotated[str, msgspec.Meta(min_length=1, max_length=64)], Any],
    msgspec.Meta(max_length=100, description="By the `config_schema` of the plugin."),
]
Streams = Annotated[
    list[Stream], msgspec.Meta(min_length=1, max_length=2, description="The mail it is chosen for by itself.")
]
Priority = Annotated[int, msgspec.Meta(ge=0, le=1000, description="Of several that fit, the lowest is chosen.")]


class NewConnection(Input, frozen=True, kw_only=True):
    plugin: Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="A plugin's id.")]
    name: Name | None = None
    config: Values = {}
    streams: Streams = msgspec.field(default_factory=lambda: ["transactional", "marketing"])
    priority: Priority = 100


class ConnectionChange(Input, frozen=True, kw_only=True):
    """What is absent stays as it is, inside `config` too; null takes a value of `config` away."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    config: Values | msgspec.UnsetType = msgspec.UNSET
    streams: Streams | msgspec.UnsetType = msgspec.UNSET
    priority: Priority | msgspec.UnsetType = msgspec.UNSET
    status: Literal["active", "maintenance", "disabled"] | msgspec.UnsetType = msgspec.UNSET


class Trouble(msgspec.Struct, frozen=True):
    """What is wrong with a connection."""

    kind: str
    """authentication, authorization, configuration, quota, rate_limit, network, api, data or plugin."""
    detail: str
    retryable: bool
    code: str | None = None
    """The provider's own."""
    field: str | None = None
    """The configuration key at fault."""
    incident: str | None = None
    """What support finds it under."""


class LastCheck(msgspec.Struct, frozen=True):
    at: datetime
    ok: bool
    response_ms: int


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    workspace: str
    plugin: str
    name: str
    status: Status
    error: Trouble | None
    error_at: datetime | None
    config: dict[str, Any]
    """Without the secrets."""
    secrets: dict[str, bool]
    """Each secret of the configuration, and whether it is set. The values are never shown."""
    streams: list[Stream]
    priority: int
    built_in: bool
    """Carries what test keys send; every tenant has one."""
    capabilities: Capabilities | None
    """null while the plugin is not there."""
    webhook_url: str | None
    """Where the provider is to send its events; null for plugins that take none."""
    last_check: LastCheck | None
    created_at: datetime
    updated_at: datetime
    version: int
    """Rises with every change of the configuration; the ETag is made of it."""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found."""

    id: str
    at: datetime
    ok: bool
    response_ms: int
    error: Trouble | None


class Previous(msgspec.Struct, frozen=True):
    """What was in force before a change."""

    config: dict[str, Any]
    secret_version: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as it is stored."""

    tenant: str
    id: str
    workspace: str
    plugin: str
    name: str
    config: dict[str, Any]
    secrets: list[str]
    secret_version: int
    previous: Previous | None
    previous_until: datetime | None
    status: Status
    error: Trouble | None
    error_at: datetime | None
    streams: list[Stream]
    priority: int
    built_in: bool
    checked_at: datetime | None
    check_ok: bool | None
    check_ms: int | None
    version: int
    created_at: datetime
    updated_at: datetime


class OpenConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection ready for use. Shared by everybody in the process: keep it for one batch, not for longer."""

    id: str
    tenant: str
    workspace: str
    version: int
    status: Status
    plugin: Plugin[Any]
    capabilities: Capabilities
    config: Config
    connector: Connector
    """Guarded: it raises PluginError only. `isinstance(connector, EmailProvider)` and its like say the truth."""


class InboundConnection(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to take a provider's request."""

    tenant: str
    workspace: str
    id: str
    plugin: Plugin[Any]
    """With a webhook, guarded."""
    configs: Sequence[Config]
    """The current configuration, and the one before for as long as the provider may still sign with it."""
