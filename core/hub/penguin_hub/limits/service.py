"""The rules of limits: a bucket for each key, one of five times its size for the tenant, and strict ones for what is
sensitive (signing in, making keys)."""

import hashlib
import math
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from prometheus_client import Counter

from penguin_hub.limits.buckets import Buckets
from penguin_hub.limits.errors import RateLimited
from penguin_hub.limits.headers import POLICY, WINDOW_SECONDS, Headers, fields
from penguin_hub.limits.script import RAISE, TAKE
from penguin_hub.platform.redis import Redis, RedisUnavailable

TENANT_FACTOR: Final = 5
"""All keys of a tenant together may use so many times the limit of one."""

DECISIONS = Counter("penguin_rate_limit_decisions_total", "Requests by how the limiter decided.", ["where", "outcome"])
_allowed = {place: DECISIONS.labels(place, "allowed") for place in ("redis", "local")}
_refused = {place: DECISIONS.labels(place, "refused") for place in ("redis", "local")}


class Account(msgspec.Struct, frozen=True):
    """Whom a request is charged to. Made once for each credential that is remembered: it holds what Redis is sent."""

    tenant: str
    subject: str
    limit: int
    """Requests a minute."""
    version: int
    """The tenant's, at the moment the credential was read."""
    keys: tuple[str, str, str]
    arguments: tuple[int | float, ...]
    local: tuple[tuple[str, float, float], ...]
    """The same buckets as they are in this process while Redis is away: this node's share."""


class Decision(msgspec.Struct, frozen=True):
    allowed: bool
    limit: int
    remaining: int
    retry_after: float
    more_after: float

    @property
    def headers(self) -> Headers:
        return fields(self.limit, self.remaining, self.more_after)

    def refusal(self) -> RateLimited:
        wait = max(self.retry_after, self.more_after)
        return _refusal(f"The limit of {self.limit} requests a minute is used up.", POLICY, wait)


class Limiter:
    """`fixed` replaces every plan's limit (development only); `nodes` is how many processes share it without Redis."""

    def __init__(
        self, redis: Redis, *, fixed: int | None = None, nodes: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = redis
        self._fixed = fixed
        self._nodes = nodes
        self._clock = clock
        self._local = Buckets()

    def account(self, tenant: str, subject: str, limit: int, version: int) -> Account:
        limit = self._fixed or limit
        ceiling = limit * TENANT_FACTOR
        keys = (_version_key(tenant), f"hub:{{{tenant}}}:rate:{subject}", f"hub:{{{tenant}}}:rate")
        share = math.ceil(limit / self._nodes), math.ceil(ceiling / self._nodes)
        return Account(
            tenant=tenant,
            subject=subject,
            limit=limit,
            version=version,
            keys=keys,
            arguments=(1, limit, limit / WINDOW_SECONDS, ceiling, ceiling / WINDOW_SECONDS),
            local=tuple((key, size, size / WINDOW_SECONDS) for key, size in zip(keys[1:], share, strict=True)),
        )

    async def take(self, account: Account, *, fresh: int = 0) -> Decision | None:
        """One token, in one call to Redis. None: what the caller remembers of the tenant may be out of date; he reads
        PostgreSQL and asks again with `fresh` 1, and if that is None once more, again with 2.

        While Redis is away this node's own share is taken.
        """
        try:
            outcome, remaining, retry, more = await self._redis.script(
                TAKE, account.keys, (account.version, fresh, *account.arguments)
            )
        except RedisUnavailable:
            taken = self._local.take(account.local, self._clock())
            (_allowed if taken.allowed else _refused)["local"].inc()
            return Decision(taken.allowed, account.limit, taken.remaining, taken.retry_after, taken.more_after)
        if outcome < 0:
            return None
        (_allowed if outcome else _refused)["redis"].inc()
        return Decision(outcome == 1, account.limit, remaining, retry / 1000, more / 1000)

    async def throttle(self, policy: str, subject: str, *, most: int, seconds: int) -> None:
        """For what is sensitive: `most` in `seconds`, exactly, or not at all. Raises RateLimited, RedisUnavailable.

        `subject` may be personal (an address); Redis gets a hash of it.
        """
        digest = hashlib.sha256(f"{policy} {subject}".encode()).hexdigest()[:32]
        keys = (f"hub:{{{digest}}}:none", f"hub:{{{digest}}}:{policy}")
        outcome, _, retry, _ = await self._redis.script(TAKE, keys, ("", 0, 1, most, most / seconds))
        if not outcome:
            raise _refusal("Too many attempts; wait before the next one.", policy, retry / 1000)

    async def announce(self, tenant: str, version: int) -> None:
        """After a commit that raised the tenant's version: the next request anywhere sees it. Never raises: who does
        not hear it from Redis hears it from PostgreSQL."""
        try:
            await self._redis.script(RAISE, (_version_key(tenant),), (version,))
        except RedisUnavailable:
            return


def _refusal(detail: str, policy: str, retry_after: float) -> RateLimited:
    extra: dict[str, Any] = {"violated-policies": [policy]}
    return RateLimited(detail, retry_after=retry_after, **extra)


def _version_key(tenant: str) -> str:
    return f"hub:{{{tenant}}}:version"
