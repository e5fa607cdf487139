"""Event types as clients describe and see them."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from penguin_hub.events.schemas import EventType as Name
from penguin_hub.http.bodies import Input

Origin = Literal["hub", "tenant"]
Description = Annotated[str, msgspec.Meta(max_length=1000)]
Schema = Annotated[
    dict[str, Any],
    msgspec.Meta(
        description="JSON Schema 2020-12 of the event's `data`: 32 KiB at most, `$ref` to `#/$defs/...` only.",
        examples=[{"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}],
    ),
]
Example = Annotated[dict[str, Any], msgspec.Meta(description="`data` that fits the schema; test deliveries carry it.")]


class NewEventType(Input, frozen=True, kw_only=True):
    name: Name
    description: Description = ""
    schema: Schema
    example: Example


class ReplacedEventType(Input, frozen=True, kw_only=True):
    """What `PUT` sets; the version counts up by one."""

    description: Description = ""
    schema: Schema
    example: Example


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """One type of the catalogue."""

    name: str
    origin: Origin
    """`hub`: made by the hub itself. `tenant`: yours."""
    description: str
    schema: dict[str, Any]
    """JSON Schema 2020-12 of `data`."""
    version: int
    """Rises with every change."""
    example: dict[str, Any]
    created_at: datetime | None
    """null for the hub's own."""
    updated_at: datetime | None
