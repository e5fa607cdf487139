"""Redis: a hint, never the truth. The only importer of redis-py.

Every caller must have an answer for `RedisUnavailable`: what Redis holds can be lost at any moment.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, cast

import redis.asyncio as aioredis
import redis.exceptions

from penguin_hub.platform.errors import Unavailable

OUTAGES = (redis.exceptions.RedisError, OSError, TimeoutError)
"""What Redis, or the way to it, may do to a caller at any moment."""

TIMEOUT_SECONDS = 0.25
RETRY_SECONDS = 1.0
"""After a failure nobody asks Redis again for this long: an outage must not cost every request the time-out."""


class RedisUnavailable(Unavailable):
    """Redis cannot be reached now."""

    code = "redis_unavailable"


class Redis:
    """One client with a short time-out and a breaker."""

    def __init__(self, url: str, *, connections: int = 32) -> None:
        self.url = url
        self._client = aioredis.Redis.from_url(
            url.replace("valkey://", "redis://", 1),
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            max_connections=connections,
        )
        # Whoever finds every connection in use waits for one: the pool itself would raise, as if Redis were away.
        self._slots = asyncio.Semaphore(connections)
        self._scripts: dict[str, str] = {}
        self._failed = False
        self._down_until = 0.0

    @property
    def is_down(self) -> bool:
        """Whether the breaker is open: a call failed, and none has succeeded since."""
        return self._failed and asyncio.get_running_loop().time() < self._down_until

    async def call(self, *command: str | bytes | int | float) -> Any:
        """One command. Raises RedisUnavailable."""
        return await self._guard(
            lambda: self._client.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py types no commands
        )

    async def script(self, source: str, keys: Sequence[str], arguments: Sequence[str | int | float]) -> Any:
        """A Lua script by its hash, loaded when Redis does not know it (any longer). Raises RedisUnavailable."""
        digest = self._scripts.get(source)
        if digest is None:
            digest = self._scripts[source] = await self._guard(lambda: self._client.script_load(source))
        try:
            return await self._guard(lambda: self._client.evalsha(digest, len(keys), *keys, *map(str, arguments)))
        except redis.exceptions.NoScriptError:
            # A restart or FLUSH emptied the script cache.
            return await self._guard(lambda: self._client.eval(source, len(keys), *keys, *map(str, arguments)))

    def pubsub(self) -> "aioredis.client.PubSub":
        """A subscription on a connection of its own."""
        return self._client.pubsub()

    async def close(self) -> None:
        await self._client.aclose()

    async def _guard(self, make: Any) -> Any:
        async with self._slots:
            if self.is_down:
                raise RedisUnavailable("Redis is away.", retry_after=RETRY_SECONDS)
            if self._failed:
                # This call is the one that looks whether Redis is back; the others go on without it meanwhile.
                self._down_until = asyncio.get_running_loop().time() + RETRY_SECONDS
            try:
                answer = await cast("Awaitable[Any]", make())
            except redis.exceptions.NoScriptError:
                self._failed = False
                raise
            except OUTAGES as error:
                self._failed = True
                self._down_until = asyncio.get_running_loop().time() + RETRY_SECONDS
                raise RedisUnavailable("Redis is away.", retry_after=RETRY_SECONDS) from error
            self._failed = False
            return answer
