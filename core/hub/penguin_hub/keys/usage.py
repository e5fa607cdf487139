"""Counts requests in memory and writes them down in batches: no request waits for a write.

What was not yet written is lost when the process is killed: a few seconds of counts, never a request.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import structlog
from prometheus_client import Counter

from penguin_hub.keys import store
from penguin_hub.keys.schemas import Count
from penguin_hub.platform import clock
from penguin_hub.platform.db import Database, chunked
from penguin_hub.platform.errors import HubError

log = structlog.get_logger(__name__)

FLUSH_SECONDS: Final = 5.0
MOST: Final = 50_000
"""Keys and hours that are kept while PostgreSQL is away, about 10 MB; what comes beyond them is dropped and counted."""
BATCH: Final = 1_000

DROPPED = Counter(
    "penguin_key_usage_dropped_total", "Requests that were not counted: PostgreSQL was away for too long."
)


class _Tally(msgspec.Struct):
    requests: int
    errors: int
    last: datetime


class Usage:
    """One for the process. `count` at each answer; `run` writes."""

    def __init__(self, database: Database, *, most: int = MOST) -> None:
        self._database = database
        self._most = most
        self._tallies: dict[tuple[str, str, datetime], _Tally] = {}

    def __len__(self) -> int:
        return len(self._tallies)

    def count(self, tenant: str, key_id: str, *, error: bool) -> None:
        now = clock.now()
        self._add((tenant, key_id, now.replace(minute=0, second=0, microsecond=0)), _Tally(1, int(error), now))

    async def run(self, stop: asyncio.Event) -> None:
        """Every few seconds until `stop`, and once more then."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await stop.wait()
            await self.flush()

    async def flush(self) -> None:
        """Write what has come together. Never raises for an outage: it stays here for the next time."""
        taken, self._tallies = self._tallies, {}
        counts = [Count(*where, tally.requests, tally.errors, tally.last) for where, tally in taken.items()]
        for batch in chunked(counts, BATCH):
            try:
                async with self._database.system() as connection:
                    await store.add_usage(connection, batch)
            except Exception as error:
                if not isinstance(error, HubError):
                    log.error("key_usage_not_written", exc_info=error)
                self._keep(batch)

    def _keep(self, batch: Sequence[Count]) -> None:
        for count in batch:
            self._add(
                (count.tenant, count.key_id, count.hour), _Tally(count.requests, count.errors, count.last_used_at)
            )

    def _add(self, where: tuple[str, str, datetime], tally: _Tally) -> None:
        known = self._tallies.get(where)
        if known is not None:
            known.requests += tally.requests
            known.errors += tally.errors
            known.last = max(known.last, tally.last)
        elif len(self._tallies) < self._most:
            self._tallies[where] = tally
        else:
            DROPPED.inc(tally.requests)
