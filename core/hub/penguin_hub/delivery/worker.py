"""The delivery worker: what is due is claimed in batches under a lease, sent, and settled in batches.

Any number of workers may run. Nobody leads: a row belongs to whom its lease names, an expired lease to whoever comes
next, and a result counts only while the lease's token is still its own.
"""

import asyncio
import secrets as random_tokens
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from msgspec import structs
from prometheus_client import Counter, Gauge

from penguin_hub.delivery import destinations, recovery, store_order, store_queue
from penguin_hub.delivery.client import DEADLINE_SECONDS, Client
from penguin_hub.delivery.destinations import RETRY_SECONDS, Destination, Job
from penguin_hub.delivery.health import Health
from penguin_hub.delivery.ordering import Ordering
from penguin_hub.delivery.sender import Connectors, Result, Sender, given_back
from penguin_hub.delivery.settler import Settler
from penguin_hub.delivery.shares import Wish, share
from penguin_hub.delivery.slots import SLOTS, Slots
from penguin_hub.events.service import CHANNEL, EventsService
from penguin_hub.platform.db import Connection, Database, Listener, Record
from penguin_hub.platform.errors import Unavailable
from penguin_hub.vault.service import SecretStore

log = structlog.get_logger(__name__)

give_back_of = store_queue.give_back_of

INFLIGHT = Gauge("penguin_delivery_inflight", "Requests to endpoints that are under way.", multiprocess_mode="livesum")
BUFFERED = Gauge(
    "penguin_delivery_buffered", "Deliveries that are claimed and wait for a slot.", multiprocess_mode="livesum"
)
CLAIMED = Counter("penguin_delivery_claimed", "Deliveries claimed.")

LEASE_SECONDS: Final = 60.0
POLL_SECONDS: Final = 1.0
"""How long a lost wake-up, another worker's death or a passed due time can go unseen."""
_MARGIN_SECONDS: Final = 5.0
"""Between the end of the last possible attempt and the end of the lease: for writing the outcome."""
_MAX_BUFFERED: Final = 1024
_MAX_KNOWN: Final = 20_000
"""Endpoints; past that the idle ones are forgotten."""
_MAX_BYTES: Final = 24 * 1024 * 1024
_AHEAD: Final = 8
"""Claimed for an endpoint that answers, as a multiple of its window."""
_STUCK_SECONDS: Final = 3.0
"""Claimed deliveries that have waited so long are given back: their endpoint has become slow."""
_PAUSES: Final = (0.2, 0.5, 1.0, 2.0)


class DeliveryWorker:
    """Needs an open Database. `connectors` serves endpoints that are connections; without it they fail."""

    def __init__(
        self,
        database: Database,
        events: EventsService,
        secrets: SecretStore,
        client: Client,
        connectors: Connectors | None = None,
        *,
        health: Health | None = None,
        slots: int = SLOTS,
        lease: float = LEASE_SECONDS,
        deadline: float = DEADLINE_SECONDS,
        token: Callable[[], int] = lambda: random_tokens.randbits(62),
    ) -> None:
        self._database = database
        self._token = token
        self._secrets = secrets
        self._client = client
        self._sender = Sender(client, connectors)
        self._settler = Settler(database, events, health or Health(), self._written)
        self._slots = Slots(slots)
        self._lease = lease
        self._usable = max(lease / 4, lease - deadline - _MARGIN_SECONDS)
        self._deadline = deadline
        self._known: dict[str, Destination] = {}
        self._backlog: list[Wish] = []
        self._waiting: dict[str, Destination] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._kick = asyncio.Event()
        self._look_at = 0.0
        self._ordering = Ordering()
        self._buffered = 0
        self._bytes = 0
        self._typical = 2048.0
        self._turns = 0
        self._stopping = False

    @property
    def inflight(self) -> int:
        """Requests that are under way."""
        return self._slots.used

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then nothing more is claimed, what is under way ends, and every outcome is written."""
        settled = asyncio.Event()
        settling = asyncio.create_task(self._settler.run(settled))
        helpers = [asyncio.create_task(self._listen()), asyncio.create_task(self._tidy())]
        recovering = asyncio.create_task(self._recover(stop))
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._kick.set())
        failures = 0
        try:
            while not stop.is_set():
                try:
                    pause = await self._turn()
                    failures = 0
                except Unavailable as error:
                    log.warning("claim_failed", reason=error.detail)
                    pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
                    failures += 1
                except Exception as error:
                    log.error("claim_crashed", exc_info=error)
                    pause = _PAUSES[-1]
                if pause > 0:
                    await self._rest(pause)
        finally:
            self._stopping = True
            stopping.cancel()
            for helper in helpers:
                helper.cancel()
            await self._drain()
            settled.set()
            await settling
            if not stop.is_set():
                recovering.cancel()
            await asyncio.gather(*helpers, recovering, return_exceptions=True)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._kick.wait()
        except TimeoutError:
            pass

    async def _drain(self) -> None:
        for destination in self._known.values():
            self._give_back(destination, 0.0)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._deadline + 1)
            for task in late:
                task.cancel()

    # Claiming

    async def _turn(self) -> float:
        """One look and one claim; returns how long to rest unless something happens."""
        self._kick.clear()
        now = time.monotonic()
        capacity = self._capacity()
        if capacity <= 0 and now < self._look_at:
            return POLL_SECONDS
        if now < self._look_at and not self._backlog:
            return self._look_at - now
        self._turns += 1
        INFLIGHT.set(self._slots.used)
        BUFFERED.set(self._buffered)
        token = self._token()
        async with self._database.system() as connection:
            await store_queue.setup(connection)
            if now >= self._look_at:
                await self._look(connection, now)
            wanted = share(self._eligible(now), self._room(), capacity, self._turns)
            if not wanted:
                return self._pause()
            expires = time.monotonic() + self._usable
            rows = await self._claim(connection, wanted, token)
            jobs = [Job(row, token, expires) for row in rows]
            stale = await self._check(connection, jobs)
            bodies = await store_queue.bodies(connection, list({(job.tenant, job.event) for job in jobs}))
            waits = await self._pace(connection, jobs)
        CLAIMED.inc(len(jobs))
        for job in jobs:
            job.message_id, job.body = bodies.get(job.event, (job.event, None))
            self._typical += (len(job.body or b"") - self._typical) * 0.05
        for row in stale:
            self._load(row)
        self._admit(jobs, waits)
        return 0.0 if self._backlog and self._capacity() > 0 and jobs else self._pause()

    def _eligible(self, now: float) -> list[Wish]:
        if now >= self._ordering.next_at:
            return self._backlog
        return [wish for wish in self._backlog if not self._keeps_order(wish.endpoint, wish.lane)]

    def _pause(self) -> float:
        held = any(wish.lane == store_order.LANE for wish in self._backlog)
        until = min(self._look_at, self._ordering.next_at) if held else self._look_at
        return max(0.0, until - time.monotonic())

    def _keeps_order(self, endpoint: str, lane: int) -> bool:
        """Not where all is to be discarded: order would only make it slow."""
        settings = self._known[endpoint].settings
        return lane == store_order.LANE and (settings is None or settings.active)

    async def _claim(self, connection: Connection, wanted: Sequence[tuple[str, int, int]], token: int) -> list[Record]:
        plain: list[tuple[str, int, int]] = []
        ordered: list[tuple[str, int, int]] = []
        for wish in wanted:
            (ordered if self._keeps_order(wish[0], wish[1]) else plain).append(wish)
        rows: list[Record] = []
        if plain:
            rows = await store_queue.claim(connection, plain, lease=self._lease, token=token)
            self._forget_drained(plain, rows)
        if ordered:
            more, drained = await self._ordering.claim(connection, ordered, lease=self._lease, token=token)
            rows = [*rows, *more]
            self._forget_drained(drained, [])
        return rows

    def _written(self, results: Sequence[Result]) -> None:
        """What was finished lets the next of its key go."""
        ended = {r.job.endpoint: r.job.tenant for r in results if r.kind == "f" and r.job.lane == store_order.LANE}
        if ended:
            self._backlog += self._ordering.released(ended, self._backlog)
            self._kick.set()

    async def _look(self, connection: Connection, now: float) -> None:
        rows = await store_queue.due(connection)
        self._backlog = [Wish(row["tenant_id"], row["endpoint_id"], row["lane"]) for row in rows if row["seconds"] <= 0]
        ahead = [row["seconds"] for row in rows if row["seconds"] > 0]
        took = time.monotonic() - now
        # With very many endpoints a look is work: at most a twentieth of the time goes into it.
        self._look_at = now + max(min(POLL_SECONDS, *ahead, POLL_SECONDS), took * 20)
        for row in rows:
            if row["endpoint_id"] not in self._known:
                self._known[row["endpoint_id"]] = Destination(row["tenant_id"], row["endpoint_id"])

    def _capacity(self) -> int:
        by_bytes = int((_MAX_BYTES - self._bytes) / max(self._typical, 256.0))
        return min(_MAX_BUFFERED - self._buffered, by_bytes)

    def _room(self) -> dict[str, int]:
        """How many more of each endpoint are worth claiming now."""
        room: dict[str, int] = {}
        for wish in self._backlog:
            if wish.endpoint in room:
                continue
            one = self._known[wish.endpoint]
            if one.settings is not None and not one.settings.active:
                room[wish.endpoint] = _MAX_BUFFERED - len(one.buffer)
            elif one.paced:
                room[wish.endpoint] = 0
            else:
                count = self._slots.appetite(one.state)
                rate = one.settings.rate if one.settings else None
                if self._slots.proven(one.state) and not one.state.is_broken:
                    count += one.state.window * (_AHEAD - 1)
                if rate is not None:
                    count = min(count, max(1, int(rate)))
                room[wish.endpoint] = count - len(one.buffer)
        return room

    def _forget_drained(self, wanted: Sequence[tuple[str, int, int]], rows: Sequence[Record]) -> None:
        """What gave less than was asked for has nothing more that is due."""
        got: dict[tuple[str, int], int] = {}
        for row in rows:
            key = row["endpoint_id"], row["lane"]
            got[key] = got.get(key, 0) + 1
        empty = {(endpoint, lane) for endpoint, lane, count in wanted if got.get((endpoint, lane), 0) < count}
        self._backlog = [wish for wish in self._backlog if (wish.endpoint, wish.lane) not in empty]

    async def _check(self, connection: Connection, jobs: Sequence[Job]) -> list[Record]:
        """The rows of endpoints that changed since they were loaded."""
        pairs = list({(job.tenant, job.endpoint) for job in jobs})
        seen = {row["id"]: row for row in await store_queue.versions(connection, pairs)} if pairs else {}
        changed = []
        for pair in pairs:
            one = self._known[pair[1]]
            row = seen.get(pair[1])
            # A row that is gone (its tenant was erased) is a version that nothing will ever reach.
            one.version = row["version"] if row else -1
            one.failing = bool(row and row["failing"])
            if one.settings is None or one.settings.version != one.version:
                changed.append(pair)
        return await store_queue.endpoints(connection, changed) if changed else []

    async def _pace(self, connection: Connection, jobs: Sequence[Job]) -> dict[str, float]:
        """For endpoints with a rate: seconds until the first of what was claimed may be sent."""
        counts: dict[str, int] = {}
        for job in jobs:
            counts[job.endpoint] = counts.get(job.endpoint, 0) + 1
        waits: dict[str, float] = {}
        for endpoint, count in counts.items():
            one = self._known[endpoint]
            if one.settings is not None and one.settings.rate is not None:
                waits[endpoint] = await store_queue.pace(connection, one.tenant, endpoint, count, one.settings.rate)
        return waits

    def _load(self, row: Record) -> None:
        one = self._known[row["id"]]
        if one.loading is None or one.loading.done():
            one.loading = asyncio.create_task(self._loaded(one, row))

    async def _loaded(self, one: Destination, row: Record) -> None:
        if await destinations.load(one, row, self._secrets, self._client):
            self._pump(one)
        else:
            self._give_back(one, RETRY_SECONDS)

    def _admit(self, jobs: Sequence[Job], waits: dict[str, float]) -> None:
        loop = asyncio.get_running_loop()
        turns: dict[str, int] = {}
        touched: dict[str, Destination] = {}
        for job in jobs:
            one = self._known[job.endpoint]
            self._buffered += 1
            self._bytes += len(job.body or b"")
            if job.endpoint in waits and one.settings is not None and one.settings.rate:
                turn = turns[job.endpoint] = turns.get(job.endpoint, -1) + 1
                one.paced += 1
                loop.call_later(waits[job.endpoint] + turn / one.settings.rate, self._its_turn, one, job)
            else:
                one.buffer.append(job)
                touched[one.id] = one
        for one in touched.values():
            self._pump(one)

    def _its_turn(self, one: Destination, job: Job) -> None:
        one.paced -= 1
        one.buffer.append(job)
        if self._stopping:
            self._give_back(one, 0.0)
        self._pump(one)
        if not one.paced:
            self._kick.set()

    # Sending

    def _pump(self, one: Destination) -> bool:
        """Start what may be started; False when a limit shared with others stands in the way."""
        if self._stopping or not one.buffer:
            return True
        if one.version >= 0 and not one.is_ready:
            return True
        if one.version < 0 or (one.settings is not None and not one.settings.active):
            self._discard(one)
            return True
        while one.buffer and self._slots.appetite(one.state):
            if not self._slots.may_start(one.state):
                self._waiting[one.id] = one
                return False
            job = self._taken(one)
            if time.monotonic() >= job.expires:
                self._settler.put(given_back(job, one, 0.0))
                continue
            probe = one.state.is_broken
            unproven = self._slots.start(one.state)
            task = asyncio.create_task(self._deliver(job, one, unproven, probe))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return True

    async def _deliver(self, job: Job, one: Destination, unproven: bool, probe: bool) -> None:
        result = given_back(job, one, 0.0)
        try:
            result = await self._sender.attempt(job, one, probe=probe)
        except Exception as error:
            log.error("delivery_crashed", delivery=job.id, exc_info=error)
            result = given_back(job, one, RETRY_SECONDS)
        finally:
            # A cancelled one (the process ends) is not given back: whether it arrived is unknown until its lease ends.
            self._finished(one, unproven, result)
        self._settler.put(result)
        if result.delay and result.kind != "f":
            self._look_by(time.monotonic() + result.delay)
        self._pump(one)
        for _ in range(min(4, len(self._waiting))):
            identity = next(iter(self._waiting))
            if not self._pump(self._waiting.pop(identity)):
                break
        if self._backlog and self._buffered < _MAX_BUFFERED // 2:
            self._kick.set()

    def _finished(self, one: Destination, unproven: bool, result: Result) -> None:
        slow = result.duration_ms > 1000 * self._deadline / 6
        self._slots.finish(one.state, unproven, answered=result.answered, slow=slow)
        if result.disable and one.settings is not None:
            # What is claimed already must not wait for the next look at the row.
            one.settings = structs.replace(one.settings, active=False)
        if result.answered is False:
            # What was claimed ahead for an endpoint that has stopped answering is for others to carry.
            self._give_back(one, 0.0)

    def _look_by(self, moment: float) -> None:
        """What was put off is due at a moment that the last look knew nothing of."""
        if moment < self._look_at:
            self._look_at = moment
            self._kick.set()

    def _taken(self, one: Destination) -> Job:
        job = one.buffer.popleft()
        self._buffered -= 1
        self._bytes -= len(job.body or b"")
        return job

    def _give_back(self, one: Destination, delay: float) -> None:
        while one.buffer:
            self._settler.put(given_back(self._taken(one), one, delay))

    def _discard(self, one: Destination) -> None:
        while one.buffer:
            job = self._taken(one)
            self._settler.put(Result(job, one, "f", "discarded", error="endpoint_disabled"))
        self._kick.set()

    # Helpers

    async def _listen(self) -> None:
        """Kicks when a publisher rings. Without it everything still goes, a second later."""
        while True:
            listener: Listener | None = None
            try:
                listener = await self._database.listen(CHANNEL)
                while not listener.is_closed():
                    try:
                        async with asyncio.timeout(POLL_SECONDS * 5):
                            await listener.heard.wait()
                    except TimeoutError:
                        continue
                    listener.heard.clear()
                    self._look_at = 0.0
                    self._kick.set()
            except Unavailable as error:
                log.info("not_listening", reason=error.detail)
            finally:
                if listener is not None:
                    await listener.close()
            await asyncio.sleep(POLL_SECONDS)

    async def _recover(self, stop: asyncio.Event) -> None:
        """Carries recoveries on, page by page."""
        while not stop.is_set():
            more = False
            try:
                more = await recovery.carry_on(self._database)
            except Unavailable as error:
                log.info("recovery_waits", reason=error.detail)
            except Exception as error:
                log.error("recovery_crashed", exc_info=error)
            if more:
                self._look_by(0.0)
            else:
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await stop.wait()
                except TimeoutError:
                    pass

    async def _tidy(self) -> None:
        """Gives back what is stuck, and forgets endpoints that are idle."""
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for one in list(self._known.values()):
                if one.buffer and now - one.buffer[0].received > _STUCK_SECONDS and now - one.state.answered_at > 1.0:
                    self._give_back(one, 0.0)
            for one in list(self._waiting.values()):
                self._waiting.pop(one.id, None)
                self._pump(one)
            if len(self._known) > _MAX_KNOWN:
                self._backlog, self._look_at = [], 0.0
                self._known = {
                    key: one
                    for key, one in self._known.items()
                    if one.buffer or one.paced or one.state.inflight or now - one.state.answered_at < 60
                }
