"""Each tenant's enabled endpoints, kept in memory; one cheap query per publish proves that they are still right."""

from collections import OrderedDict

import msgspec

from penguin_hub.delivery import store
from penguin_hub.delivery.matching import Filter, Subscription
from penguin_hub.platform.db import Connection

_TENANTS = 10_000
"""Tenants whose endpoints one process remembers."""


class Subscriptions:
    """One for the process."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, tuple[Subscription, ...]]] = OrderedDict()

    async def of(self, connection: Connection, tenant: str) -> tuple[Subscription, ...]:
        """The endpoints as this transaction sees them."""
        version = await store.set_version(connection, tenant)
        if version is None:
            return ()
        known = self._known.get(tenant)
        if known is None or known[0] != version:
            rows = await store.enabled(connection, tenant)
            known = (
                version,
                tuple(
                    Subscription(
                        row["id"],
                        tuple(row["events"]),
                        msgspec.convert(row["filter"], Filter),
                        polled=row["mode"] == "poll",
                        ordered=row["ordered"],
                    )
                    for row in rows
                ),
            )
            self._known[tenant] = known
            if len(self._known) > _TENANTS:
                self._known.popitem(last=False)
        return known[1]
