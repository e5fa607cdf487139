"""bcrypt's word that a key is the key, asked for once in a while and remembered.

The process that ran bcrypt remembers for CONFIRMED_SECONDS and leaves a mark in Redis for the others, who look at it
again after a minute or two. So the cluster runs bcrypt once for a key in a quarter of an hour; without Redis, each
process does. The mark is a keyed hash over tenant, key id and key: it cannot be made without the pepper, and it never
replaces the look-up, it only spares the slow check after it.
"""

import asyncio
import contextlib
import hmac
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog

from penguin_hub.keys import store
from penguin_hub.keys.errors import InvalidKey
from penguin_hub.keys.hashing import Hasher
from penguin_hub.keys.peppers import Peppers
from penguin_hub.keys.schemas import KeyRecord
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import HubError
from penguin_hub.platform.redis import Redis, RedisUnavailable
from penguin_hub.vault.errors import SecretNotFound
from penguin_hub.vault.service import SecretStore

log = structlog.get_logger(__name__)

CONFIRMED_SECONDS: Final = 900
MARK_SECONDS: Final = CONFIRMED_SECONDS + 60
"""Longer than the process that made it remembers, so that this one runs bcrypt again before the others have to."""
MOST: Final = 20_000


def secret_path(key_id: str) -> str:
    """Where the bcrypt hash of a key lies in the secret store, under its tenant."""
    return f"api_keys/{key_id}"


class Confirmer:
    def __init__(
        self,
        database: Database,
        redis: Redis,
        secrets: SecretStore,
        peppers: Peppers,
        hasher: Hasher,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._redis = redis
        self._secrets = secrets
        self._peppers = peppers
        self._hasher = hasher
        self._now = now
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[float]] = {}

    async def confirm(self, mark: bytes, record: KeyRecord, key: str) -> None:
        """`mark` is this process' own keyed hash of the key. Raises InvalidKey, Unavailable (nobody was asked)."""
        if self._until.get(mark, 0.0) > self._now():
            return
        task = self._running.get(mark)
        if task is None:
            task = self._running[mark] = asyncio.create_task(self._confirm(record, key))
            task.add_done_callback(lambda done: self._done(mark, done))
        await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _done(self, mark: bytes, task: asyncio.Task[float]) -> None:
        del self._running[mark]
        if task.cancelled() or task.exception() is not None:
            return
        self._until[mark] = self._now() + task.result()
        self._until.move_to_end(mark)
        if len(self._until) > MOST:
            self._until.popitem(last=False)

    async def _confirm(self, record: KeyRecord, key: str) -> float:
        """For how many seconds this process may take it as confirmed."""
        oldest = (await self._peppers.all())[-1]
        mark = oldest.digest(f"confirmed {record.tenant} {record.id} {key}").hex()
        place = f"hub:{{{record.tenant}}}:confirmed:{record.id}"
        try:
            found = await self._redis.call("GET", place)
            if found is not None and hmac.compare_digest(found, mark.encode()):
                return random.uniform(60, 120)  # noqa: S311 -- spreads the next looks, not a secret
        except RedisUnavailable:
            pass
        await self._check(record, key)
        with contextlib.suppress(RedisUnavailable):
            await self._redis.call("SET", place, mark, "EX", MARK_SECONDS)
        await self._move_to_newest_pepper(record, key)
        return CONFIRMED_SECONDS

    async def _check(self, record: KeyRecord, key: str) -> None:
        try:
            secret = await self._secrets.read(record.tenant, secret_path(record.id))
        except SecretNotFound:
            hashed = None
        else:
            hashed = secret.fields.get("bcrypt")
        if hashed is None or not await self._hasher.check(key, hashed, "key"):
            # The look-up found the key by its keyed hash, so either store was changed behind our back.
            log.error("key_hash_disagrees", tenant=record.tenant, key=record.id, stored=hashed is not None)
            raise InvalidKey("This API key is not valid.")

    async def _move_to_newest_pepper(self, record: KeyRecord, key: str) -> None:
        newest = await self._peppers.current()
        if record.pepper_id == newest.id:
            return
        try:
            async with self._database.tenant(record.tenant) as connection:
                await store.rehash(connection, record.tenant, record.id, newest.digest(key), newest.id)
        except HubError:
            log.info("key_rehash_postponed", key=record.id)
