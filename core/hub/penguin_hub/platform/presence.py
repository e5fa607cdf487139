"""Which workers are alive, so that what a dead one held is taken over within seconds and not when its leases end.

A worker holds an advisory lock of PostgreSQL, under its number, on a connection of its own. When the process dies its
socket closes and PostgreSQL frees the lock. Whoever then gets the lock of a registered worker knows that it is gone,
and gives back what it held. No leader: every worker looks, and the lock lets one act.

A worker that merely lost that connection may have its work taken over while it is still at it. That is the same as a
lease that ran out: results are fenced by the lease's token, and a delivery may come twice, under the same id.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from penguin_hub.platform import store_presence
from penguin_hub.platform.db import Connection, Database, Session
from penguin_hub.platform.errors import Unavailable

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 1.0

GiveBack = Callable[[Connection, int], Awaitable[int]]
"""(connection, a dead worker's number) -> how many leases ended. In the transaction that strikes the worker off."""


class Presence:
    """One for a worker process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.number = secrets.randbits(30)

    def token(self) -> int:
        """A fencing token that says whose it is: the number above 32 random bits."""
        return self.number << 32 | secrets.randbits(32)

    async def run(self, give_back: Sequence[GiveBack], stop: asyncio.Event) -> None:
        """Until `stop`. Outages are waited out."""
        session: Session | None = None
        while not stop.is_set():
            try:
                if session is None or session.is_closed():
                    session = await self._database.session()
                    await store_presence.register(session, self.number)
                await self._look(give_back)
            except Unavailable as error:
                log.info("presence_unknown", reason=error.detail)
            except Exception as error:
                log.error("presence_crashed", exc_info=error)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
            except TimeoutError:
                pass
        if session is not None:
            await session.close()

    async def _look(self, give_back: Sequence[GiveBack]) -> None:
        async with self._database.system() as connection:
            for number in await store_presence.gone(connection, self.number):
                freed = [await each(connection, number) for each in give_back]
                await store_presence.strike_off(connection, number)
                log.warning("worker_gone", worker=number, leases=sum(freed))
