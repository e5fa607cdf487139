"""What runs by the clock: upkeep that every worker may do and one at a time does. The only importer of saq.

SAQ keeps the schedule in Redis, so it can be lost or a run can come twice: a job here only does what the rows in
PostgreSQL ask for, and doing it twice does no harm. Nothing that a user waits for goes through here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from saq import CronJob, Worker
from saq.queue.redis import RedisQueue

from penguin_hub.platform.redis import OUTAGES

log = structlog.get_logger(__name__)

AWAY_SECONDS = 1.0
"""How long to leave Redis alone after it did not answer: SAQ by itself asks again at once, for ever."""


class Job(msgspec.Struct, frozen=True):
    """One piece of upkeep."""

    name: str
    cron: str
    """Five fields (or six with seconds), UTC."""
    run: Callable[[], Awaitable[object]]
    timeout: int = 300
    """Seconds; a run that takes longer is ended and tried again."""


class Schedule:
    """Runs jobs by the clock, once each across all workers that share one Redis."""

    def __init__(self, redis_url: str, jobs: Sequence[Job]) -> None:
        self._url = redis_url.replace("valkey://", "redis://", 1)
        self._jobs = jobs

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; never ends on an error of its own."""
        queue = _PatientQueue.from_url(self._url, name="penguin-upkeep")
        worker = _Worker(
            queue,
            functions=[],
            cron_jobs=[
                CronJob(_named(job), cron=job.cron, timeout=job.timeout, retries=3, ttl=60, heartbeat=0)
                for job in self._jobs
            ],
            concurrency=2,
            dequeue_timeout=1.0,
            timers={"schedule": 1, "sweep": 5, "worker_info": 30, "abort": 5},
            shutdown_grace_period_s=20,
        )
        running = asyncio.create_task(worker.start())
        try:
            await stop.wait()
        finally:
            await worker.stop()
            await asyncio.gather(running, return_exceptions=True)
            with suppress(*OUTAGES):
                await queue.disconnect()


class _Worker(Worker[Any]):
    SIGNALS = []  # the process has its own

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._polls: list[asyncio.Task[None]] = []

    async def upkeep(self) -> list[asyncio.Task[None]]:
        self._polls = await super().upkeep()
        return self._polls

    async def stop(self) -> None:
        """What runs is waited for; what only sleeps until its next turn is not."""
        self.event.set()
        for poll in self._polls:
            poll.cancel()
        await super().stop()


class _PatientQueue(RedisQueue):
    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Any:  # noqa: ASYNC109 -- SAQ's signature
        try:
            return await super().dequeue(timeout, poll_interval)
        except OUTAGES:
            await asyncio.sleep(AWAY_SECONDS)
            return None


def _named(job: Job) -> Callable[[Any], Awaitable[None]]:
    async def run(_: Any) -> None:
        outcome = await job.run()
        if outcome:
            log.info("upkeep", job=job.name, outcome=outcome)

    # SAQ knows a function by its qualified name.
    run.__qualname__ = job.name
    return run
