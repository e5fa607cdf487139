"""The worker's loop over the queue of messages.

Delivery to a provider is at least once: a worker that dies between the provider's yes and our note of it leaves the
message to be sent again, with the same Message-ID and the same id in the provider's metadata.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, NamedTuple

import structlog

from penguin_hub.connections.service import ConnectionsService
from penguin_hub.emails import store_queue, store_timeline
from penguin_hub.emails.lane import LEASE_SECONDS, Lane
from penguin_hub.emails.recorder import Recorder
from penguin_hub.emails.service import CHANNEL
from penguin_hub.emails.suppressions.service import SuppressionsService
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Database, Listener
from penguin_hub.platform.errors import Unavailable

log = structlog.get_logger(__name__)

give_back_of = store_queue.give_back_of

POLL_SECONDS: Final = 1.0
"""What is not heard of (a lost notice, a retry that comes due) is found after at most so long."""
MAX_LANES: Final = 64
TURN_SECONDS: Final = 5.0
"""How long a busy connection keeps its lane while others wait for one."""
SCAN: Final = 256
REST_SECONDS: Final = 2.0
"""A connection whose lane failed is left alone for so long."""
BUDGET_BYTES: Final = 24 * 1024 * 1024
SCHEDULED: Final = 500
UPKEEP_SECONDS: Final = 10.0
UNMATCHED_DAYS: Final = 1


class ByteBudget:
    """First come, first served; something larger than everything goes when nothing else is held."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._held += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)
            raise

    def give(self, size: int) -> None:
        self._held -= size
        while self._waiting and (self._waiting[0][1].cancelled() or self._fits(self._waiting[0][0])):
            wanted, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._held += wanted
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self._held == 0 or self._held + size <= self._size


class _Running(NamedTuple):
    lane: Lane
    since: float
    task: asyncio.Task[None]


class EmailWorker:
    """Sends what is queued, and records what was announced, when its time comes."""

    def __init__(
        self,
        database: Database,
        connections: ConnectionsService,
        suppressions: SuppressionsService,
        recorder: Recorder,
        *,
        number: int = 0,
    ) -> None:
        """`number`: this process's, see `platform.presence`."""
        self._number = number
        self._database = database
        self._connections = connections
        self._suppressions = suppressions
        self._recorder = recorder
        self._budget = ByteBudget(BUDGET_BYTES)
        self._lanes: dict[str, _Running] = {}
        self._resting: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._after = ""
        """The connection that was last given a lane: those after it come next, so that each gets its turn."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then finishes what was begun. Survives outages of PostgreSQL and errors of its own."""
        helpers = [
            asyncio.create_task(self._listen()),
            asyncio.create_task(self._every(POLL_SECONDS / 2, self._record_scheduled, "scheduled events")),
            asyncio.create_task(self._every(LEASE_SECONDS / 3, self._renew, "leases")),
            asyncio.create_task(self._every(UPKEEP_SECONDS, self._keep_up, "late reports")),
            asyncio.create_task(_poke(stop, self._wake)),
        ]
        try:
            while not stop.is_set():
                self._wake.clear()
                try:
                    await self._dispatch(stop)
                except Unavailable as error:
                    log.warning("email_queue_unreadable", reason=error.detail)
                except Exception as error:
                    log.exception("email_dispatch_failed", exc_info=error)
                await _heard(self._wake, POLL_SECONDS)
            await asyncio.gather(*(running.task for running in self._lanes.values()), return_exceptions=True)
        finally:
            tasks = [*helpers, *(running.task for running in self._lanes.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _dispatch(self, stop: asyncio.Event) -> None:
        """A lane for each connection with due work, in turn; a word to those that run already."""
        now = asyncio.get_running_loop().time()
        self._resting = {name: until for name, until in self._resting.items() if until > now}
        waiting = 0
        for name, tenant in await self._due():
            if name in self._lanes:
                self._lanes[name].lane.more.set()
            elif name in self._resting:
                continue
            elif len(self._lanes) < MAX_LANES:
                self._start(name, tenant, now, stop)
                self._after = name
            else:
                waiting += 1
        for running in sorted(self._lanes.values(), key=lambda one: one.since)[:waiting]:
            if now - running.since > TURN_SECONDS:
                running.lane.leave.set()
                running.lane.more.set()

    async def _due(self) -> list[tuple[str, str]]:
        """(connection, tenant) with due work, beginning after the connection that was last given a lane."""
        async with self._database.system() as connection:
            due = await store_queue.due_connections(connection, clock.now(), self._after, SCAN)
            if self._after and len(due) < SCAN:
                seen = {name for name, _ in due}
                first = await store_queue.due_connections(connection, clock.now(), "", SCAN - len(due))
                due += [one for one in first if one[0] not in seen]
        return due

    def _start(self, name: str, tenant: str, now: float, stop: asyncio.Event) -> None:
        lane = Lane(
            name,
            tenant,
            database=self._database,
            connections=self._connections,
            suppressions=self._suppressions,
            recorder=self._recorder,
            budget=self._budget,
            # Whose the lease is, for `platform.presence`, and which lane's.
            lease=f"{self._number:08x}.{ids.new('lea')}",
        )
        self._lanes[name] = _Running(lane, now, asyncio.create_task(self._run_lane(name, lane, stop)))

    async def _run_lane(self, name: str, lane: Lane, stop: asyncio.Event) -> None:
        try:
            await lane.run(stop)
        except Unavailable as error:
            log.warning("lane_stopped", connection=name, reason=error.detail)
            self._resting[name] = asyncio.get_running_loop().time() + REST_SECONDS
        except Exception as error:
            log.exception("lane_failed", connection=name, exc_info=error)
            self._resting[name] = asyncio.get_running_loop().time() + REST_SECONDS
        finally:
            del self._lanes[name]
            # Work that came while the lane was closing, or that waits for a free lane.
            self._wake.set()

    async def _listen(self) -> None:
        while True:
            try:
                listener = await self._database.listen(CHANNEL)
            except Unavailable:
                await asyncio.sleep(POLL_SECONDS)
                continue
            try:
                while not listener.is_closed():
                    if await _heard(listener.heard, POLL_SECONDS):
                        listener.heard.clear()
                        self._wake.set()
            finally:
                await _closed(listener)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]], name: str) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Unavailable as error:
                log.info("email_upkeep_waits", work=name, reason=error.detail)
            except Exception as error:
                log.exception("email_upkeep_failed", work=name, exc_info=error)

    async def _renew(self) -> None:
        claims = [claim for running in self._lanes.values() for claim in running.lane.claims.values()]
        if claims:
            async with self._database.system() as connection:
                await store_queue.extend(connection, claims, clock.now() + timedelta(seconds=LEASE_SECONDS))

    async def _record_scheduled(self) -> None:
        """Events that a receipt announced, once they are due. Taken out and recorded in one transaction."""
        more = True
        while more:
            more = False
            async with self._database.system() as connection:
                tenants = await store_queue.tenants_with_scheduled(connection, clock.now(), SCHEDULED)
            for tenant in tenants:
                async with self._database.tenant(tenant) as connection:
                    due = await store_timeline.take_scheduled(connection, tenant, clock.now(), SCHEDULED)
                    for connection_id, events in due.items():
                        await self._recorder.record(connection, tenant, connection_id, events)
                more = more or sum(map(len, due.values())) == SCHEDULED

    async def _keep_up(self) -> None:
        """Reports and receipts that missed each other; reports that nobody will ever ask for."""
        now = clock.now()
        async with self._database.system() as connection:
            late = await store_queue.late_matches(connection, now - timedelta(minutes=5))
            await store_queue.forget_unmatched(connection, now - timedelta(days=UNMATCHED_DAYS))
        for tenant, connection_id, provider_id in late:
            async with self._database.tenant(tenant) as connection:
                await self._recorder.match_late(connection, tenant, connection_id, [provider_id])


async def _heard(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def _poke(stop: asyncio.Event, wake: asyncio.Event) -> None:
    await stop.wait()
    wake.set()


async def _closed(listener: Listener) -> None:
    try:
        await listener.close()
    except (OSError, TimeoutError) as error:
        log.info("listener_not_closed", reason=repr(error))
