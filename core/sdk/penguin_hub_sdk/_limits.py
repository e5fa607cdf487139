"""How fast one connection may call its provider."""


class Bucket:
    """A token bucket that hands out waiting times, so that callers are served in order; with a pause for 429 answers.

    Times are seconds of a monotonic clock that the caller reads.
    """

    __slots__ = ("_burst", "_paused_until", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._updated = 0.0
        self._paused_until = 0.0

    def reserve(self, now: float, patience: float) -> tuple[bool, float]:
        """(True, seconds to wait before calling), or (False, seconds until it is worth asking again) when the wait is
        longer than `patience`: then nothing is reserved."""
        self._tokens = min(float(self._burst), self._tokens + max(0.0, now - self._updated) * self._rate)
        self._updated = max(now, self._updated)
        wait = max(0.0, (1 - self._tokens) / self._rate, self._paused_until - now)
        if wait > patience:
            return False, wait
        self._tokens -= 1
        return True, wait

    def pause(self, now: float, seconds: float) -> None:
        """The provider asked for quiet."""
        self._paused_until = max(self._paused_until, now + seconds)
