"""A town to break: a cluster, tenants, a producer and a sink, and the judgement of what is left of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from penguin_hub.platform.db import owner

from support import checker, producer
from support import cluster as clusters
from support import sink as sinks
from support.checker import Report
from support.cluster import Cluster
from support.producer import Log, Producer, Tenant
from support.sink import Sink

DRAIN_SECONDS = 45.0


@dataclass
class Town:
    cluster: Cluster
    sink: Sink
    producer: Producer
    seconds_to_drain: float = 0.0
    _kills: int = 0
    _known: int = 0
    """Errors in the logs that are of an earlier test."""

    @property
    def tenants(self) -> Sequence[Tenant]:
        return self.producer.tenants

    async def settle(self, count: int, endpoints: Sequence[str], *, postmark: bool = False) -> list[Tenant]:
        """New tenants with endpoints of these kinds; from now on the producer works for them alone.

        So a test is judged by its own tenants, whatever the one before it left behind.
        """
        made = await producer.settle_tenants(self.cluster.settings, count)
        for tenant in made:
            await self.producer.furnish(tenant, self.sink, endpoints)
            if postmark:
                await self.producer.connect(tenant)
        self.producer.tenants = made
        self.producer.log = Log(self.producer.log.path)
        self.sink.copies.clear()
        self.sink.sent.clear()
        self._kills = self.cluster.kills
        self._known = len(self.cluster.errors())
        return made

    @property
    def faults(self) -> int:
        """Since `settle`."""
        return self.cluster.kills - self._kills

    async def judged(self, seconds: float = DRAIN_SECONDS, *, faults: int | None = None) -> Report:
        """Wait until nothing is left to do, then look. `faults` when it is not the number of kills."""
        try:
            self.seconds_to_drain = await checker.drained(self.cluster.settings.database_url, seconds)
            left = []
        except checker.NotDrained as error:
            left = [str(error)]
        state = await checker.snapshot(self.cluster.settings.database_url, self.tenants)
        mine = {tenant.id for tenant in self.tenants}
        report = checker.check(
            self.tenants,
            self.producer.log.accepted,
            [copy for copy in self.sink.copies if copy.tenant in mine],
            state,
            tried=self.producer.log.tried,
            sent=self.sink.sent,
            faults=self.faults if faults is None else faults,
        )
        report.backlog += left
        report.violations += [f"SURPRISE {one}" for one in self.producer.log.surprises]
        report.violations += [f"LOGGED {one}" for one in self.cluster.errors()[self._known :]]
        return report

    async def settled(self, *, left: int) -> None:
        """Wait until all outcomes but so many are written."""
        async with owner(self.cluster.settings.database_url) as connection, asyncio.timeout(15):
            while await connection.fetchval("SELECT count(*) FROM delivery_queue") != left:
                await asyncio.sleep(0.02)

    async def all_at_work(self, tenant: Tenant) -> None:
        """Publish until each worker has delivered something."""
        wanted = {name for name in self.cluster.parts if not name.startswith("api-")}
        async with asyncio.timeout(30):
            while wanted - {copy.headers["user-agent"] for copy in self.sink.copies}:
                await self.producer.do("batch", tenant)
                await asyncio.sleep(0.05)
        await self.settled(left=0)

    @asynccontextmanager
    async def workers(self, *names: str, window: float | None = None) -> AsyncIterator[None]:
        """These workers, and at the end none of them."""
        await self.cluster.work(*names, window=window)
        try:
            yield
        finally:
            await self.cluster.remove(*names)

    @asynccontextmanager
    async def under_load(self, rate: float, **options: object) -> AsyncIterator[None]:
        """The producer works while the block runs; then what it has begun is brought to an end."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.producer.load(stop, rate, **options))  # type: ignore[arg-type] # passed on
        try:
            yield
        finally:
            stop.set()
            await task


@asynccontextmanager
async def founded(*, apis: int = 2) -> AsyncIterator[Town]:
    """Servers and API processes; workers and tenants are the caller's."""
    async with sinks.receiving() as sink:
        producer.provider(sink)
        async with clusters.running(producer.overrides(sink)) as cluster:
            await cluster.serve(apis)
            async with producer.producing(cluster.urls, [], cluster.home.path / "producer.log") as made:
                yield Town(cluster, sink, made)
