"""What this process remembers of the keys it has seen, and when it has to read them again."""

import hashlib
import hmac
import ipaddress
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from penguin_hub.http.principal import Network, Principal
from penguin_hub.keys.confirm import Confirmer
from penguin_hub.keys.errors import InvalidKey
from penguin_hub.keys.lookup import Lookup
from penguin_hub.keys.peppers import Peppers
from penguin_hub.keys.schemas import KeyRecord
from penguin_hub.keys.watch import Watch
from penguin_hub.limits.service import Account, Limiter
from penguin_hub.platform import clock
from penguin_hub.tenants.plans import PLANS

MAX_AGE_SECONDS: Final = 60.0
"""A row is read again after this, or a part of it, so that not all are read at once."""
BLIND_SECONDS: Final = 0.8
"""The same while PostgreSQL's notices cannot reach us: revocation takes effect within one second."""
MOST: Final = 10_000
"""About 20 MB."""

_INVALID: Final = "This API key is not valid."


class Known(msgspec.Struct, frozen=True):
    """One key as it was read."""

    record: KeyRecord
    principal: Principal
    account: Account
    networks: tuple[Network, ...]
    generation: int
    read_at: float
    max_age: float


class Finder:
    def __init__(
        self,
        lookup: Lookup,
        confirmer: Confirmer,
        peppers: Peppers,
        limiter: Limiter,
        watch: Watch,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup = lookup
        self._confirmer = confirmer
        self._peppers = peppers
        self._limiter = limiter
        self._watch = watch
        self._now = now
        self._own_key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, Known] = OrderedDict()

    async def find(self, key: str, *, renew: bool = False) -> tuple[Known, bool]:
        """A key that is good at this moment, and whether it was read from PostgreSQL just now (`renew` insists on it).

        Raises InvalidKey; Unavailable when nobody could be asked, which says nothing about the key.
        """
        # Remembered under a hash that only this process can make: its memory holds no key and no look-up hash.
        mark = hmac.digest(self._own_key, key.encode(), hashlib.sha256)
        known = self._known.get(mark)
        read_now = renew or known is None or not self._is_current(known)
        if known is None or read_now:
            known = await self._read(mark, key)
        record = known.record
        if record.revoked_at is not None or (record.expires_at is not None and record.expires_at <= clock.now()):
            raise InvalidKey(_INVALID)
        await self._confirmer.confirm(mark, record, key)
        return known, read_now

    def _is_current(self, known: Known) -> bool:
        watch = self._watch
        if known.generation != watch.generation:
            return False
        return self._now() - known.read_at < (known.max_age if watch.alive else BLIND_SECONDS)

    async def _read(self, mark: bytes, key: str) -> Known:
        generation, now = self._watch.generation, self._now()
        digests = tuple(pepper.digest(key) for pepper in await self._peppers.all())
        record = await self._lookup.find(digests)
        if record is None:
            self._known.pop(mark, None)
            raise InvalidKey(_INVALID)
        known = Known(
            record=record,
            principal=_principal(record),
            account=self._account(record),
            networks=tuple(ipaddress.ip_network(text) for text in record.allowed_ips),
            generation=generation,
            read_at=now,
            max_age=MAX_AGE_SECONDS * random.uniform(0.5, 1),  # noqa: S311 -- jitter, not a secret
        )
        self._known[mark] = known
        self._known.move_to_end(mark)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return known

    def _account(self, record: KeyRecord) -> Account:
        limit = PLANS[record.plan].requests_per_minute
        return self._limiter.account(record.tenant, record.id, limit, record.tenant_version)


def _principal(record: KeyRecord) -> Principal:
    return Principal(
        tenant=record.tenant,
        workspace=record.workspace,
        actor=record.id,
        scopes=frozenset(record.scopes),
        environment=record.environment,
        admin=record.admin,
        plan=record.plan,
    )
