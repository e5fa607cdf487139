"""Checks what is published against the schemas of its tenant: the events feature's Catalogue.

One cheap query per publish proves that the names in memory are still right; a tenant who describes no types pays for
nothing else. Compiled schemas are kept by the bytes that they hold, the longest unused given up first.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from penguin_hub.event_types import store
from penguin_hub.event_types.builtin import BUILTIN
from penguin_hub.event_types.errors import DataInvalid, SchemaNotAllowed
from penguin_hub.event_types.validation import EVENT_BUDGET, MAX_ERRORS, Compiled
from penguin_hub.events.service import Publication
from penguin_hub.platform.db import Connection
from penguin_hub.platform.errors import FieldError

log = structlog.get_logger(__name__)

BATCH_BUDGET: Final = 10_000_000
"""Checks times values of one publish (see `validation`)."""
_TENANTS: Final = 10_000
_BYTES: Final = 64 * 1024 * 1024
# Other requests get their turn after so many checks times values.
_SLICE: Final = 100_000


class Catalogue:
    """One for the process."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, tuple[int, Mapping[str, int]]] = OrderedDict()
        self._compiled: OrderedDict[tuple[str, str], Compiled] = OrderedDict()
        self._held = 0

    async def check(self, connection: Connection, tenant: str, events: Sequence[Publication]) -> None:
        """Raises DataInvalid with pointers to what does not fit. Types that nobody described pass."""
        names = await self._of(connection, tenant)
        if not names:
            return
        found: list[FieldError] = []
        total = taken = 0
        for event in events:
            if event.type not in names:
                continue
            compiled = await self._schema(connection, tenant, event.type, names[event.type])
            if compiled is None:
                continue
            where = f"{event.pointer}/data"
            cost = compiled.cost(event.data)
            total += cost
            if cost > EVENT_BUDGET or total > BATCH_BUDGET:
                raise DataInvalid.field(where, "too_costly", "Checking this against its schema costs too much.")
            found += compiled.complaints(msgspec.json.decode(event.data), where, cost)
            if len(found) >= MAX_ERRORS:
                break
            if total - taken > _SLICE:
                taken = total
                await asyncio.sleep(0)
        if found:
            raise DataInvalid("The data does not fit the schema of its type.", errors=tuple(found[:MAX_ERRORS]))

    async def example(self, connection: Connection, tenant: str, type: str) -> dict[str, Any]:
        """An example of the type's data; for a type that nobody described a plain sentence."""
        if (known := BUILTIN.get(type)) is not None:
            return known.example
        row = await store.get(connection, tenant, type)
        if row is None:
            return {"message": "This is a test delivery.", "type": type}
        return msgspec.json.decode(row["example"], type=dict[str, Any])

    async def _of(self, connection: Connection, tenant: str) -> Mapping[str, int]:
        version = await store.set_version(connection, tenant)
        if version is None:
            return {}
        known = self._names.get(tenant)
        if known is None or known[0] != version:
            known = version, await store.names(connection, tenant)
            self._names[tenant] = known
            if len(self._names) > _TENANTS:
                self._names.popitem(last=False)
        return known[1]

    async def _schema(self, connection: Connection, tenant: str, name: str, version: int) -> Compiled | None:
        compiled = self._compiled.get((tenant, name))
        if compiled is not None and compiled.version == version:
            self._compiled.move_to_end((tenant, name))
            return compiled
        row = await store.get(connection, tenant, name)
        if row is None:
            return None
        try:
            compiled = Compiled(msgspec.json.decode(row["schema"], type=dict[str, Any]), row["version"])
        except SchemaNotAllowed as error:
            # What an earlier version of the hub allowed and this one does not: the tenant's events go on.
            log.warning("event_schema_not_usable", tenant=tenant, event_type=name, reason=error.detail)
            return None
        self._keep((tenant, name), compiled)
        return compiled

    def _keep(self, key: tuple[str, str], compiled: Compiled) -> None:
        if (old := self._compiled.pop(key, None)) is not None:
            self._held -= old.weight
        self._compiled[key] = compiled
        self._held += compiled.weight
        while self._held > _BYTES and len(self._compiled) > 1:
            self._held -= self._compiled.popitem(last=False)[1].weight
