"""Understands providers' requests: claimed, normalised by the plugin, and their effects stored in one transaction."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

import structlog
from penguin_hub_sdk.errors import PluginError
from penguin_hub_sdk.events import E, ProviderEvent
from penguin_hub_sdk.webhooks import InboundRequest
from prometheus_client import Counter

from penguin_hub.inbound import store
from penguin_hub.inbound.registry import Registry
from penguin_hub.inbound.service import CHANNEL, Connections
from penguin_hub.platform.db import Database, Listener, Record
from penguin_hub.platform.errors import HubError, Unavailable

log = structlog.get_logger(__name__)

give_back_of = store.give_back_of

PROCESSED = Counter("penguin_inbound_processed", "Requests of providers that were worked on, by outcome.", ["outcome"])

LEASE_SECONDS: Final = 60.0
POLL_SECONDS: Final = 1.0
DELAYS: Final = (1.0, 10.0, 60.0, 600.0)
"""Seconds before each further attempt; after the last one a request is parked."""
MAX_EVENTS: Final = 10_000
"""Of one request: more is not what a provider sends."""
_BATCH: Final = 64
_AT_ONCE: Final = 4
_PAUSES: Final = (0.2, 0.5, 1.0, 2.0)
_MAX_ERROR: Final = 500
_DEATHS: Final = 2
"""So many may be chance: a worker that is killed has a whole batch in its hands."""


class InboundWorker:
    """Needs an open Database. Any number may run."""

    def __init__(
        self,
        database: Database,
        connections: Connections,
        registry: Registry,
        *,
        lease: float = LEASE_SECONDS,
        token: Callable[[], int] = lambda: secrets.randbits(62),
    ) -> None:
        self._database = database
        self._token = token
        self._connections = connections
        self._registry = registry
        self._lease = lease
        self._kick = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what is in hand is finished."""
        listening = asyncio.create_task(self._listen())
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._kick.set())
        failures = 0
        try:
            while not stop.is_set():
                self._kick.clear()
                try:
                    pause = await self._turn()
                    failures = 0
                except Unavailable as error:
                    log.warning("inbound_claim_failed", reason=error.detail)
                    pause, failures = _PAUSES[min(failures, len(_PAUSES) - 1)], failures + 1
                except Exception as error:
                    log.error("inbound_claim_crashed", exc_info=error)
                    pause = _PAUSES[-1]
                if pause > 0:
                    try:
                        async with asyncio.timeout(pause):
                            await self._kick.wait()
                    except TimeoutError:
                        pass
        finally:
            stopping.cancel()
            listening.cancel()
            await asyncio.gather(stopping, listening, return_exceptions=True)

    async def _turn(self) -> float:
        """One batch; returns how long to rest unless something comes."""
        token = self._token()
        async with self._database.system() as connection:
            rows = await store.claim(connection, count=_BATCH, lease=self._lease, token=token)
            ahead = None if rows else await store.next_due(connection)
            if suspect := next((row for row in rows if _is_suspect(row)), None):
                # Alone: if it is what kills us, it takes nobody's attempts but its own.
                await store.put_back(connection, [row for row in rows if row is not suspect], token)
                rows = [suspect]
        # One connection's requests in the order they came; different connections beside each other.
        queues: dict[str, list[Record]] = {}
        for row in sorted(rows, key=lambda row: row["id"]):
            queues.setdefault(row["connection_id"], []).append(row)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def work(queue: list[Record]) -> None:
            async with gate:
                for row in queue:
                    await self._one(row, token)

        await asyncio.gather(*(work(queue) for queue in queues.values()))
        if rows:
            return 0.0
        return POLL_SECONDS if ahead is None else min(POLL_SECONDS, max(0.01, ahead))

    async def _one(self, row: Record, token: int) -> None:
        tenant, request_id = row["tenant_id"], row["id"]
        try:
            if row["attempts"] > len(DELAYS) + 1:
                # Attempts that never came to an end: it takes the process down with it.
                await self._failed(row, token, "It was given up after attempts that did not end.", None)
                return
            events = await self._understood(row)
            await self._effects(row, token, events)
        except (PluginError, HubError) as error:
            await self._again(row, token, error.detail)
        except Exception as error:
            log.error("inbound_handler_crashed", tenant=tenant, request=request_id, exc_info=error)
            await self._again(row, token, "A handler failed; this is our fault, and it has been logged.")
        else:
            PROCESSED.labels("processed").inc()

    async def _understood(self, row: Record) -> list[ProviderEvent]:
        """Raises PluginError, HubError."""
        target = await self._connections.for_inbound(row["plugin"], row["connection_id"])
        if target is None or target.plugin.webhook is None:
            raise HubError("The connection or its plugin is not there any more.")
        request = InboundRequest(
            method=row["method"],
            url=row["url"],
            headers=tuple((name, value) for name, value in row["headers"]),
            body=row["body"],
            received_at=row["received_at"],
        )
        events: list[ProviderEvent] = []
        for event in target.plugin.webhook.normalise(request):
            events.append(event)
            if len(events) > MAX_EVENTS:
                raise HubError(f"One request holds more than {MAX_EVENTS} events.")
        return events

    async def _effects(self, row: Record, token: int, events: list[ProviderEvent]) -> None:
        tenant = row["tenant_id"]
        words = [f"unknown:{event.raw_type}"[:128] if event.type is E.UNKNOWN else str(event.type) for event in events]
        async with self._database.tenant(tenant) as connection:
            # First, so that nobody else can be in the middle of the same request.
            if not await store.processed(connection, tenant, row["id"], token, words):
                return
            for handler, mine in self._registry.chosen(row["plugin"], events):
                await handler(connection, tenant, row["connection_id"], mine)

    async def _again(self, row: Record, token: int, error: str) -> None:
        attempt = row["attempts"]
        await self._failed(row, token, error, DELAYS[attempt - 1] if attempt <= len(DELAYS) else None)

    async def _failed(self, row: Record, token: int, error: str, delay: float | None) -> None:
        PROCESSED.labels("parked" if delay is None else "retried").inc()
        try:
            async with self._database.tenant(row["tenant_id"]) as connection:
                await store.failed(connection, row["tenant_id"], row["id"], token, error=_clean(error), delay=delay)
        except Unavailable as unavailable:
            # Its lease ends, and it is tried again.
            log.warning("inbound_outcome_not_written", request=row["id"], reason=unavailable.detail)

    async def _listen(self) -> None:
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
                    self._kick.set()
            except Unavailable as error:
                log.info("not_listening", reason=error.detail)
            finally:
                if listener is not None:
                    await listener.close()
            await asyncio.sleep(POLL_SECONDS)


def _is_suspect(row: Record) -> bool:
    """More than one worker died while it had this request."""
    return bool(row["attempts"] > _DEATHS and row["error"] == store.DIED)


def _clean(text: str) -> str:
    return text.replace("\x00", "�")[:_MAX_ERROR]
