"""The worker process: wires it, and nothing else does."""

import asyncio
import gc

import structlog

from penguin_hub import services
from penguin_hub.delivery import jobs as delivery_jobs
from penguin_hub.delivery import worker as delivery_worker
from penguin_hub.delivery.worker import DeliveryWorker
from penguin_hub.emails import worker as emails_worker
from penguin_hub.emails.worker import EmailWorker
from penguin_hub.http import idempotency
from penguin_hub.inbound import jobs as inbound_jobs
from penguin_hub.inbound import worker as inbound_worker
from penguin_hub.inbound.registry import ANY, Registry
from penguin_hub.inbound.worker import InboundWorker
from penguin_hub.keys import jobs as keys_jobs
from penguin_hub.monitoring.health import ConnectionHealth
from penguin_hub.platform.presence import Presence
from penguin_hub.platform.schedule import Job, Schedule
from penguin_hub.plugins.stalls import StallWatch
from penguin_hub.services import Services
from penguin_hub.settings import Settings

log = structlog.get_logger(__name__)

GIVE_BACK = (delivery_worker.give_back_of, inbound_worker.give_back_of, emails_worker.give_back_of)
"""What a worker holds under leases: given back by whoever finds that it died."""


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Until `stop` is set; then what is in hand is finished or given back.

    Raises DatabaseUnavailable and what opening the secret store raises, at its start; later outages are waited out.
    """
    async with services.opened(settings, app_size=8) as at:
        await delivery_jobs.keep_partitions(at.database)
        handlers = Registry()
        handlers.register(ANY, "*", at.emails.record)
        presence = Presence(at.database)
        loops = (
            DeliveryWorker(at.database, at.events, at.secrets, at.client, at.destinations, token=presence.token),
            InboundWorker(at.database, at.connections, handlers, token=presence.token),
            ConnectionHealth(at.connections),
            EmailWorker(at.database, at.connections, at.suppressions, at.emails.recorder, number=presence.number),
            StallWatch({plugin.package: plugin.id for plugin in at.plugins.active()}),
            Schedule(settings.redis_url, upkeep(at)),
        )
        # What is there now stays: the collector need not look at it again, nor after every few hundred allocations.
        # Measured on the delivery engine: a quarter of a delivery's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        log.info("worker_started")
        async with asyncio.TaskGroup() as group:
            group.create_task(presence.run(GIVE_BACK, stop))
            for loop in loops:
                group.create_task(loop.run(stop))
        log.info("worker_stopped")


def upkeep(at: Services) -> list[Job]:
    """What is done by the clock, by one worker at a time."""
    return [
        Job("partitions", "17 */6 * * *", lambda: delivery_jobs.keep_partitions(at.database)),
        Job("inbound-forget", "31 * * * *", lambda: inbound_jobs.forget_old(at.database)),
        Job("keys-clean-up", "7 * * * *", lambda: keys_jobs.clean_up(at.database, at.secrets, at.sessions)),
        Job("connections-upkeep", "*/5 * * * *", at.connections.upkeep),
        Job("idempotency-forget", "*/10 * * * *", lambda: idempotency.forget_expired(at.database)),
    ]
