"""bcrypt, cost 12, for keys and passwords. The only importer of bcrypt.

One check is a quarter of a second of a core. So it runs in threads of its own, one fewer than there are cores, and only
so many callers may wait for one: an attack on what is slow ends in 503 and not in a dead process.
"""

import os
from collections.abc import Callable
from typing import Final, TypeVar

import anyio
import anyio.to_thread
import bcrypt
from prometheus_client import Counter

from penguin_hub.keys.errors import TooBusy

ROUNDS: Final = 12
MAX_BYTES: Final = 72
"""bcrypt reads no further; a longer secret is refused rather than cut."""
MAX_WAITING: Final = 32

T = TypeVar("T")

RUNS = Counter("penguin_bcrypt_runs_total", "Times bcrypt ran, by what for.", ["purpose"])


class Hasher:
    """One for the process. `rounds` is for tests of what surrounds it."""

    def __init__(self, *, rounds: int = ROUNDS, threads: int | None = None) -> None:
        self._rounds = rounds
        self._limiter = anyio.CapacityLimiter(threads or max(1, (os.cpu_count() or 2) - 1))
        self._waiting = 0

    async def hash(self, secret: str, purpose: str) -> str:
        """Raises TooBusy, and ValueError for a secret over MAX_BYTES."""
        raw = _checked(secret)
        return await self._run(purpose, lambda: bcrypt.hashpw(raw, bcrypt.gensalt(self._rounds)).decode())

    async def check(self, secret: str, hashed: str, purpose: str) -> bool:
        """In a time that does not depend on where they differ. Raises TooBusy."""
        raw = secret.encode()
        if len(raw) > MAX_BYTES:
            return False
        return await self._run(purpose, lambda: bcrypt.checkpw(raw, hashed.encode()))

    async def _run(self, purpose: str, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise TooBusy("Too many credentials are being checked at once.", retry_after=2)
        self._waiting += 1
        try:
            RUNS.labels(purpose).inc()
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._waiting -= 1


def _checked(secret: str) -> bytes:
    raw = secret.encode()
    if not 0 < len(raw) <= MAX_BYTES:
        raise ValueError("bcrypt takes 1 to 72 bytes")
    return raw
