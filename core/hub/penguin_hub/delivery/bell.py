"""Those who wait in a poll are told when there is something for their tenant: rung at the publish, heard at the poll.

Both sides are hints. A notice may be lost with a process or a connection; whoever waits looks again by himself.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from penguin_hub.delivery import store_polling
from penguin_hub.platform.db import Connection, Database, Listener, after_commit
from penguin_hub.platform.errors import Unavailable

log = structlog.get_logger(__name__)

_GATHER_SECONDS: Final = 0.001
_RETRY_SECONDS: Final = 1.0
_PING_SECONDS: Final = 10.0


class Bell:
    """The publishers' side. As in `events.wake`, NOTIFY goes in a transaction of its own, for all of a millisecond."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tenants: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def after(self, connection: Connection, tenant: str) -> None:
        """Ring for the tenant once this transaction is committed."""
        after_commit(connection, lambda: self._ring(tenant))

    def _ring(self, tenant: str) -> None:
        self._tenants.add(tenant)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        while self._tenants:
            await asyncio.sleep(_GATHER_SECONDS)
            tenants, self._tenants = sorted(self._tenants), set()
            try:
                async with self._database.system() as connection:
                    await store_polling.ring(connection, tenants)
            except Unavailable as error:
                log.info("poll_bell_not_rung", reason=error.detail)


class Ear:
    """The pollers' side: one connection for the process, opened when somebody first waits."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self.ended = False

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def of(self, tenant: str) -> int:
        """How many wait for this tenant."""
        return len(self._waiting.get(tenant, ()))

    @contextmanager
    def listening(self, tenant: str) -> Iterator[asyncio.Event]:
        """An event that is set when something may have come. Clear it before you look."""
        if self._task is None and not self.ended:
            self._task = asyncio.create_task(self._listen())
        event = asyncio.Event()
        self._waiting.setdefault(tenant, set()).add(event)
        try:
            yield event
        finally:
            waiting = self._waiting[tenant]
            waiting.discard(event)
            if not waiting:
                del self._waiting[tenant]

    def end(self) -> None:
        """Nobody waits any longer: the process is about to stop."""
        self.ended = True
        self._wake(self._waiting)

    async def close(self) -> None:
        self.end()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _wake(self, tenants: "set[str] | dict[str, set[asyncio.Event]]") -> None:
        for tenant in tenants:
            for event in self._waiting.get(tenant, ()):
                event.set()

    async def _listen(self) -> None:
        while True:
            try:
                listener = await self._database.listen(store_polling.CHANNEL)
                try:
                    # What came while nobody listened.
                    self._wake(self._waiting)
                    await self._hear(listener)
                finally:
                    await listener.close()
            except Unavailable as error:
                log.info("poll_ear_deaf", reason=error.detail)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _hear(self, listener: Listener) -> None:
        """Until the connection ends. Raises DatabaseUnavailable."""
        while not listener.is_closed():
            try:
                async with asyncio.timeout(_PING_SECONDS):
                    await listener.heard.wait()
            except TimeoutError:
                await listener.ping(_PING_SECONDS)
            listener.heard.clear()
            told, listener.told = listener.told, set()
            self._wake(told)
