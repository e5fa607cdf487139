"""Finds keys by their hash, many in one query.

While a query is under way, whoever else asks waits for the next one, and all who wait share it. So a flood of keys that
do not exist costs one connection and a few queries more, and never the pool that other requests need.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from penguin_hub.keys import store
from penguin_hub.keys.schemas import KeyRecord
from penguin_hub.platform.db import Database

MOST_AT_ONCE: Final = 200
UNKNOWN_SECONDS: Final = 10.0
MOST_UNKNOWN: Final = 20_000

Answer = asyncio.Future[KeyRecord | None]


class Lookup:
    def __init__(self, database: Database, *, now: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._now = now
        self._asked: OrderedDict[tuple[bytes, ...], Answer] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._running: asyncio.Task[None] | None = None

    async def find(self, digests: tuple[bytes, ...]) -> KeyRecord | None:
        """The key that has one of these hashes (one for each pepper), read now. Raises DatabaseUnavailable."""
        if self._unknown.get(digests[0], 0.0) > self._now():
            return None
        answer = self._asked.get(digests)
        if answer is None:
            answer = self._asked[digests] = asyncio.get_running_loop().create_future()
            if self._running is None:
                self._running = asyncio.create_task(self._run())
        return await asyncio.shield(answer)

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        for answer in self._asked.values():
            answer.cancel()
        self._asked.clear()

    async def _run(self) -> None:
        try:
            while self._asked:
                batch = [self._asked.popitem(last=False) for _ in range(min(MOST_AT_ONCE, len(self._asked)))]
                try:
                    await self._answer(batch)
                except Exception as error:
                    for _, answer in batch:
                        _fail(answer, error)
                except BaseException:
                    for _, answer in batch:
                        answer.cancel()
                    raise
        finally:
            self._running = None

    async def _answer(self, batch: Sequence[tuple[tuple[bytes, ...], Answer]]) -> None:
        async with self._database.system() as connection:
            found = await store.lookup(connection, [digest for digests, _ in batch for digest in digests])
        records = {record.key_hmac: record for record in found}
        for digests, answer in batch:
            record = next((records[digest] for digest in digests if digest in records), None)
            if record is None:
                self._remember_unknown(digests[0])
            if not answer.done():
                answer.set_result(record)

    def _remember_unknown(self, digest: bytes) -> None:
        """A key cannot be used before it is made, so nobody who waits for one is turned away by this."""
        self._unknown[digest] = self._now() + UNKNOWN_SECONDS
        self._unknown.move_to_end(digest)
        if len(self._unknown) > MOST_UNKNOWN:
            self._unknown.popitem(last=False)


def _fail(answer: Answer, error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # Read once, so that a failure whose asker has gone is not reported as lost.
