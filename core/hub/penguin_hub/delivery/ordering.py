"""Strict order in one worker: whose turn it is among the keys, and how much of the time goes into finding out."""

import time
from collections.abc import Sequence
from typing import Final

from penguin_hub.delivery import store_order
from penguin_hub.delivery.shares import Wish
from penguin_hub.platform.db import Connection, Record

_SLOW_SECONDS: Final = 0.02
_REST: Final = 10
"""After a claim that was slow (very many keys that are held back), the next one waits so many times as long."""


class Ordering:
    """One for the worker."""

    def __init__(self) -> None:
        self.next_at = 0.0
        # By endpoint, the key that was claimed last: the next claim begins behind it, so that each key has its turn.
        self._after: dict[str, str] = {}

    async def claim(
        self, connection: Connection, wanted: Sequence[tuple[str, int, int]], *, lease: float, token: int
    ) -> tuple[list[Record], list[tuple[str, int, int]]]:
        """What was claimed, and which of `wanted` have nothing more that may go now."""
        began = time.monotonic()
        places = [(endpoint, count, self._after.pop(endpoint, "")) for endpoint, _, count in wanted]
        rows = await store_order.claim(connection, places, lease=lease, token=token)
        took = time.monotonic() - began
        self.next_at = began + took * _REST if took > _SLOW_SECONDS else 0.0
        keys: dict[str, list[str]] = {}
        for row in rows:
            keys.setdefault(row["endpoint_id"], []).append(row["ordering_key"])
        drained = []
        for wish, (endpoint, count, after) in zip(wanted, places, strict=True):
            found = keys.get(endpoint, ())
            if len(found) == count:
                self._after[endpoint] = max(found)
            elif not after:
                drained.append(wish)
        return rows, drained

    def released(self, ended: dict[str, str], backlog: Sequence[Wish]) -> list[Wish]:
        """What may go now that deliveries of these endpoints (with their tenants) are finished, unless it is known."""
        known = {wish.endpoint for wish in backlog if wish.lane == store_order.LANE}
        return [Wish(tenant, endpoint, store_order.LANE) for endpoint, tenant in ended.items() if endpoint not in known]
