"""Listings as clients see them."""

from typing import Any

import msgspec
from penguin_hub.plugins.schemas import Capabilities
from penguin_hub_sdk.manifest import Manifest


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin, short."""

    id: str
    name: str
    version: str
    category: str
    summary: str
    status: str
    """`active`, `maintenance`, `deprecated` or `inactive`, as its author declares it."""
    publisher: str | None
    capabilities: Capabilities
    connections: int
    """How many the tenant has."""


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin with all that its page shows."""

    id: str
    name: str
    version: str
    category: str
    summary: str
    status: str
    publisher: str | None
    capabilities: Capabilities
    connections: int
    manifest: Manifest
    config_schema: dict[str, Any]
    distribution: str
    readme: str | None
    """Markdown, by the plugin's author: show it as text or sanitise what it is turned into."""
