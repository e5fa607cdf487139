"""The circuit breaker: after several failures in a row a host is left alone, then tried with one request."""

from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]


class Breaker:
    """One host's state. Times are seconds of a monotonic clock that the caller reads."""

    __slots__ = ("_failures", "_opened_at", "_probing", "rest", "threshold")

    def __init__(self, threshold: int = 5, rest: float = 30.0) -> None:
        self.threshold = threshold
        """Failures in a row that open it; a success in between starts the count again."""
        self.rest = rest
        """Seconds before a probe is let through."""
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    def state(self, now: float) -> State:
        if self._opened_at is None:
            return "closed"
        return "half-open" if now - self._opened_at >= self.rest else "open"

    def enter(self, now: float) -> float:
        """0.0: go ahead, and call `leave` afterwards. Otherwise: seconds to stay away."""
        if self._opened_at is None:
            return 0.0
        if now - self._opened_at < self.rest:
            return self.rest - (now - self._opened_at)
        if self._probing:
            return 1.0
        self._probing = True
        return 0.0

    def leave(self, now: float, failed: bool | None) -> None:
        """How it went; None when nobody knows (the caller was cancelled), which lets the next one probe."""
        was_open, self._probing = self._opened_at is not None, False
        if failed is None:
            return
        if not failed:
            self._failures, self._opened_at = 0, None
            return
        self._failures += 1
        if was_open or self._failures >= self.threshold:
            self._opened_at = now


class Breakers:
    """The breakers of one process, one for each (plugin, host), at most `limit` of them: hosts may be tenants' own."""

    def __init__(self, make: Callable[[], Breaker] = Breaker, limit: int = 4096) -> None:
        self._make = make
        self._limit = limit
        self._found: dict[tuple[str, str], Breaker] = {}

    def get(self, plugin: str, host: str) -> Breaker:
        breaker = self._found.get((plugin, host))
        if breaker is None:
            if len(self._found) >= self._limit:
                self._found.pop(next(iter(self._found)))
            breaker = self._found[plugin, host] = self._make()
        return breaker

    def states(self, now: float) -> dict[tuple[str, str], State]:
        """For the health page and metrics."""
        return {key: breaker.state(now) for key, breaker in self._found.items()}
