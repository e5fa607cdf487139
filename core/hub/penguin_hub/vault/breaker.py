"""A circuit breaker: after some failures in a row nobody asks for a while, then one asks for all."""

import random
import threading
import time
from collections.abc import Callable

FAILURES = 3
FIRST_SECONDS = 0.5
LONGEST_SECONDS = 5.0


class Breaker:
    """Closed, open or half open. Used from several threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = 0.0

    def wait(self) -> float:
        """Seconds until somebody may ask; 0 lets the caller ask, and while the circuit is half open only that one."""
        with self._lock:
            if self._failures < FAILURES:
                return 0.0
            left = self._open_until - self._now()
            if left <= 0:
                # This caller is the probe. If its answer never comes, the next one probes after the same pause.
                self._open_until = self._now() + self._pause()
                return 0.0
            return left

    def succeeded(self) -> None:
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES:
                self._open_until = self._now() + self._pause()

    def _pause(self) -> float:
        doubled: float = FIRST_SECONDS * 2 ** min(self._failures - FAILURES, 10)
        return min(doubled, LONGEST_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311 -- jitter, not a secret
