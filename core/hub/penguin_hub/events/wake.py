"""Tells workers that there is something to do.

`NOTIFY` inside the publisher's transaction would take a lock that serialises every commit of the database, so it is
sent after the commit, by a transaction of its own, and once for all commits of a millisecond. It is a hint: workers
look by themselves every second.
"""

import asyncio

import structlog

from penguin_hub.platform.db import Connection, Database, after_commit
from penguin_hub.platform.errors import Unavailable

log = structlog.get_logger(__name__)

_GATHER_SECONDS = 0.001


class Wake:
    """One channel's bell, one for the process."""

    def __init__(self, database: Database, channel: str) -> None:
        self._database = database
        self._sql = f"SET LOCAL synchronous_commit = off; SELECT pg_notify('{channel}', '')"
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def after(self, connection: Connection) -> None:
        """Ring once this transaction is committed."""
        after_commit(connection, self.ring)

    def ring(self) -> None:
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        while self._again:
            await asyncio.sleep(_GATHER_SECONDS)
            self._again = False
            try:
                async with self._database.system() as connection:
                    await connection.execute(self._sql)
            except Unavailable as error:
                log.info("wake_not_sent", reason=error.detail)
