"""Asks each connection's provider now and then whether it still works. A loop of the worker."""

import asyncio
from typing import Final

import structlog
from prometheus_client import Counter

from penguin_hub.connections.service import ConnectionsService
from penguin_hub.platform.errors import HubError, Unavailable

log = structlog.get_logger(__name__)

CHECKS: Final = Counter("penguin_connection_checks", "Regular checks of connections by outcome.", ["outcome"])

BATCH: Final = 20
AT_ONCE: Final = 5
PAUSE_SECONDS: Final = 5.0
"""Between two looks for due checks. Several workers share the work: each check is claimed by one."""
OUTAGE_SECONDS: Final = 10.0


class ConnectionHealth:
    """Claims due checks and runs a few at a time. What a check finds is `connections`' business."""

    def __init__(self, connections: ConnectionsService, *, pause: float = PAUSE_SECONDS) -> None:
        self._connections = connections
        self._pause = pause
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; a check under way is given up then, and made at its next turn."""
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                round_ = asyncio.ensure_future(self._round())
                await asyncio.wait({round_, stopped}, return_when=asyncio.FIRST_COMPLETED)
                round_.cancel()
                (pause,) = await asyncio.gather(round_, return_exceptions=True)
                await asyncio.wait({stopped}, timeout=pause if isinstance(pause, float) else OUTAGE_SECONDS)
        finally:
            stopped.cancel()

    async def _round(self) -> float:
        """Seconds until the next one."""
        try:
            due = await self._connections.due_checks(BATCH)
            found = await asyncio.gather(*(self._check(*each) for each in due), return_exceptions=True)
            if failure := next((error for error in found if error is not None), None):
                raise failure
        except Unavailable as error:
            log.warning("connection_checks_wait", reason=error.code)
            return OUTAGE_SECONDS
        except Exception as error:
            log.exception("connection_checks_failed", exc_info=error)
            return OUTAGE_SECONDS
        return 0.0 if len(due) == BATCH else self._pause

    async def _check(self, tenant: str, connection: str) -> None:
        async with self._slots:
            try:
                result = await self._connections.check(tenant, connection)
            except Unavailable:
                raise
            except HubError as error:  # Gone, switched off, or its plugin is not there: nothing to find out.
                CHECKS.labels(error.code).inc()
            else:
                CHECKS.labels("ok" if result.ok else "failed").inc()
