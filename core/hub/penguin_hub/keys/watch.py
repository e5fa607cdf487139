"""Hears of changes to credentials from PostgreSQL itself, so that a revocation reaches every process in milliseconds
also while Redis is away."""

import asyncio
import contextlib
from typing import Final

import structlog

from penguin_hub.platform.db import Database, DatabaseUnavailable

log = structlog.get_logger(__name__)

CHANNEL: Final = "keys"
PING_SECONDS: Final = 0.5
RETRY_SECONDS: Final = 0.5


class Watch:
    """`generation` rises with each notice and each time we may have missed one: what was read under an earlier one is
    read again. `alive` is whether notices would reach us."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.generation = 0
        self.alive = False

    async def run(self) -> None:
        """Until cancelled. Outages of PostgreSQL are waited out."""
        while True:
            try:
                await self._hear()
            except DatabaseUnavailable:
                log.info("key_watch_lost", retry_seconds=RETRY_SECONDS)
            except Exception:
                log.exception("key_watch_crashed")
            await asyncio.sleep(RETRY_SECONDS)

    async def _hear(self) -> None:
        listener = await self._database.listen(CHANNEL)
        try:
            self.generation += 1
            self.alive = True
            while True:
                # A connection whose other end is gone without a word looks alive: only an answer shows that it is.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PING_SECONDS):
                        await listener.heard.wait()
                if listener.heard.is_set():
                    listener.heard.clear()
                    self.generation += 1
                await listener.ping(PING_SECONDS)
        finally:
            self.alive = False
            await listener.close()
