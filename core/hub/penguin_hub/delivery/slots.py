"""Who may send now. Fairness between tenants and endpoints, in the memory of one worker. Pure, but for the clock.

- An endpoint's window grows with each answer and falls to one with each time-out (as TCP's does), between 1 and its
  concurrency. So one that hangs holds a handful of slots, also before its first time-out tells.
- While many endpoints are busy each has about twice its fair part, so that those of them that begin to hang, however
  many they were, take with them no more than twice their number's part. Who has not answered for a while gets no more.
- Endpoints that have not proven to answer share half of the slots, so that the others always have the other half.
- One tenant holds at most half of the slots while others wait.
- The breaker: after BREAK_AFTER deliveries in a row without any answer (an HTTP status is an answer) an endpoint gets
  one probe at a time, with growing pauses. What waits meanwhile uses up no retries, nor does the probe.
"""

import time
from collections.abc import Callable
from typing import Final

SLOTS: Final = 512
"""Requests under way at once in one worker."""
FIRST_WINDOW: Final = 2
BREAK_AFTER: Final = 20
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 60.0
_PROVEN_SECONDS: Final = 60.0
"""For so long an answer proves that an endpoint answers."""
_STALLED_SECONDS: Final = 5.0
"""Without any answer while requests are under way: no further ones until there is one."""


class Endpoint:
    """What a worker knows of one endpoint's behaviour."""

    __slots__ = (
        "answered_at",
        "concurrency",
        "inflight",
        "open_until",
        "pause",
        "progress_at",
        "silent",
        "tenant",
        "window",
    )

    def __init__(self, tenant: str, concurrency: int) -> None:
        self.tenant = tenant
        self.concurrency = concurrency
        self.inflight = 0
        self.window = min(FIRST_WINDOW, concurrency)
        self.answered_at = float("-inf")
        self.progress_at = 0.0
        """When it last answered, or began to have something to answer."""
        self.silent = 0
        """Deliveries in a row that got no answer."""
        self.pause = 0.0
        """The breaker's present pause; 0 while it is closed."""
        self.open_until = 0.0

    @property
    def is_broken(self) -> bool:
        """The breaker is open or half-open: whatever is sent is a probe."""
        return self.pause > 0


class Slots:
    """The slots of one worker."""

    def __init__(self, total: int = SLOTS, now: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self._now = now
        self.used = 0
        self._unproven = 0
        self._busy = 0
        self._tenants: dict[str, int] = {}

    def proven(self, endpoint: Endpoint) -> bool:
        return endpoint.silent == 0 and self._now() - endpoint.answered_at < _PROVEN_SECONDS

    def appetite(self, endpoint: Endpoint) -> int:
        """How many more the endpoint itself could take now, whatever the others do."""
        if endpoint.is_broken:
            return 0 if endpoint.inflight or self._now() < endpoint.open_until else 1
        limit = min(endpoint.window, endpoint.concurrency, max(FIRST_WINDOW, 2 * self.total // max(1, self._busy)))
        if not self.proven(endpoint):
            limit = min(limit, FIRST_WINDOW)
        if endpoint.inflight and self._now() - endpoint.progress_at > _STALLED_SECONDS:
            return 0
        return max(0, limit - endpoint.inflight)

    def may_start(self, endpoint: Endpoint) -> bool:
        """Whether one more may be started now."""
        if self.used >= self.total or not self.appetite(endpoint):
            return False
        if self._tenants.get(endpoint.tenant, 0) >= max(1, self.total // 2):
            return False
        return self.proven(endpoint) or self._unproven < max(1, self.total // 2)

    def start(self, endpoint: Endpoint) -> bool:
        """Take a slot; returns whether it came out of the share of the unproven (give that to `finish`)."""
        unproven = not self.proven(endpoint)
        if not endpoint.inflight:
            self._busy += 1
            endpoint.progress_at = self._now()
        endpoint.inflight += 1
        self.used += 1
        self._unproven += unproven
        self._tenants[endpoint.tenant] = self._tenants.get(endpoint.tenant, 0) + 1
        return unproven

    def finish(self, endpoint: Endpoint, unproven: bool, *, answered: bool | None, slow: bool = False) -> None:
        """Give the slot back. `answered` None: nothing was sent, nothing was learnt."""
        endpoint.inflight -= 1
        self._busy -= not endpoint.inflight
        self.used -= 1
        self._unproven -= unproven
        left = self._tenants[endpoint.tenant] - 1
        if left:
            self._tenants[endpoint.tenant] = left
        else:
            del self._tenants[endpoint.tenant]
        if answered is None:
            return
        if answered:
            endpoint.silent = 0
            endpoint.pause = 0.0
            endpoint.answered_at = endpoint.progress_at = self._now()
            endpoint.window = max(1, endpoint.window // 2) if slow else min(endpoint.window + 1, endpoint.concurrency)
            return
        endpoint.window = 1
        endpoint.silent += 1
        if endpoint.silent >= BREAK_AFTER:
            endpoint.pause = min(max(endpoint.pause * 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            endpoint.open_until = self._now() + endpoint.pause
