"""Token buckets in the memory of this process, for the time that Redis is away. Pure: the caller brings the clock."""

from collections import OrderedDict
from typing import NamedTuple


class Taken(NamedTuple):
    """What came of asking for a token. Times are seconds."""

    allowed: bool
    remaining: int
    """Whole tokens that are left."""
    retry_after: float
    """Until the token that was refused is there; 0 when it was given."""
    more_after: float
    """Until there is one token more than now; 0 when the bucket is full."""


class Bucket:
    """Holds at most `capacity` tokens, refills with `rate` a second, starts full, knows fractions of a token."""

    __slots__ = ("_at", "_tokens", "capacity", "rate")

    def __init__(self, capacity: float, rate: float, now: float) -> None:
        self.capacity = capacity
        self.rate = rate
        self._tokens = capacity
        self._at = now

    def fill(self, now: float) -> float:
        """The tokens there are at `now`. A clock that runs backwards takes nothing away and gives nothing."""
        if now > self._at:
            self._tokens += (now - self._at) * self.rate
            self._at = now
        self._tokens = min(self.capacity, self._tokens)
        return self._tokens

    def spend(self, cost: float) -> None:
        self._tokens -= cost


class Buckets:
    """Buckets by name. The longest unused is forgotten first: after a minute it would be a full one anyway."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, asked: tuple[tuple[str, float, float], ...], now: float, cost: float = 1) -> Taken:
        """Take `cost` from each of `asked` (name, capacity, tokens a second), or from none of them."""
        buckets = [self._bucket(name, capacity, rate, now) for name, capacity, rate in asked]
        left = [bucket.fill(now) for bucket in buckets]
        retry = max((cost - tokens) / bucket.rate for tokens, bucket in zip(left, buckets, strict=True))
        if retry > 0:
            return Taken(False, int(max(0.0, min(left))), retry, retry)
        for bucket in buckets:
            bucket.spend(cost)
        scarce = min(buckets, key=lambda bucket: bucket.fill(now))
        tokens = scarce.fill(now)
        more = 0.0 if tokens >= scarce.capacity else (int(tokens) + 1 - tokens) / scarce.rate
        return Taken(True, int(tokens), 0.0, more)

    def _bucket(self, name: str, capacity: float, rate: float, now: float) -> Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(capacity, rate, now)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(name)
        if (bucket.capacity, bucket.rate) != (capacity, rate):
            bucket.fill(now)
            bucket.capacity, bucket.rate = capacity, rate
            bucket.fill(now)
        return bucket
