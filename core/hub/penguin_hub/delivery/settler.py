"""Writes what came of deliveries, many in one transaction, and tells the tenant what he must know."""

import asyncio
import time
from collections import Counter as TallyOf
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from prometheus_client import Counter, Histogram

from penguin_hub.delivery import store_queue
from penguin_hub.delivery.health import Health, exhausted
from penguin_hub.delivery.matching import OPERATIONAL
from penguin_hub.delivery.sender import Result
from penguin_hub.events.service import EventsService
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import Unavailable

log = structlog.get_logger(__name__)

ATTEMPTS = Counter("penguin_delivery_attempts", "Attempts to deliver an event, by outcome.", ["outcome"])
SECONDS = Histogram(
    "penguin_delivery_seconds",
    "Time an endpoint took to answer.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
FENCED = Counter("penguin_delivery_fenced", "Outcomes that were not written because the lease had been taken over.")

_BATCH: Final = 500
_GATHER_SECONDS: Final = 0.004
_STATS_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Between tries while the database is away."""


class Settler:
    """One for the worker. What it holds when the process is killed is delivered again, with the same id.

    `written` is told what has been committed.
    """

    def __init__(
        self,
        database: Database,
        events: EventsService,
        health: Health,
        written: Callable[[Sequence[Result]], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._events = events
        self._health = health
        self._written = written
        self._waiting: list[Result] = []
        self._news = asyncio.Event()
        self._stats_at = 0.0

    def put(self, result: Result) -> None:
        self._waiting.append(result)
        self._news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set and everything is written."""
        while not (stop.is_set() and not self._waiting):
            if not self._waiting:
                await _first_of(self._news, stop, _STATS_SECONDS)
            self._news.clear()
            if len(self._waiting) < _BATCH:
                await asyncio.sleep(_GATHER_SECONDS)
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            await self._write_patiently(batch, stop)
        await self._write_patiently([], stop, last=True)

    async def _write_patiently(self, batch: list[Result], stop: asyncio.Event, *, last: bool = False) -> None:
        tries = 0
        while True:
            try:
                await self._write(batch, last)
            except Unavailable as error:
                # After `stop` the leases are left to expire rather than the process kept from ending.
                if tries >= len(_PAUSE_SECONDS) and stop.is_set():
                    log.warning("outcomes_not_written", count=len(batch), reason=error.detail)
                    return
                await asyncio.sleep(_PAUSE_SECONDS[min(tries, len(_PAUSE_SECONDS) - 1)])
                tries += 1
            except Exception as error:
                # One outcome that cannot be stored must not hold up the others; its lease expires.
                log.error("outcomes_refused", count=len(batch), exc_info=error)
                if len(batch) > 1:
                    middle = len(batch) // 2
                    await self._write_patiently(batch[:middle], stop)
                    await self._write_patiently(batch[middle:], stop)
                return
            else:
                return

    async def _write(self, batch: list[Result], last: bool) -> None:
        now = time.monotonic()
        flush = last or now - self._stats_at >= _STATS_SECONDS
        if not batch and not flush:
            return
        async with self._database.system() as connection:
            await store_queue.setup(connection)
            kept: list[Result] = []
            if batch:
                written = await store_queue.settle(connection, [result.row() for result in batch])
                kept = [result for result in batch if result.job.id in written]
                told = await self._health.note(connection, kept, now)
                told += [
                    (result.job.tenant, exhausted(result))
                    for result in kept
                    if result.state == "failed" and result.job.type not in OPERATIONAL
                ]
                for tenant, event in told:
                    await self._events.add(connection, tenant, event)
            if flush:
                await self._health.flush(connection)
        if flush:
            self._stats_at = now
        self._written(kept)
        FENCED.inc(len(batch) - len(kept))
        self._health.count(kept)
        tried = [result for result in kept if result.attempt_id is not None]
        for outcome, count in TallyOf(result.state or "retry" for result in tried).items():
            ATTEMPTS.labels(outcome).inc(count)
        for result in tried:
            SECONDS.observe(result.duration_ms / 1000)


async def _first_of(event: asyncio.Event, stop: asyncio.Event, seconds: float) -> None:
    """Until one of them is set, or so many seconds."""
    waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
