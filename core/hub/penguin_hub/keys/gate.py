"""Lets a request in: finds its credential, checks it, takes the limit's token.

    form          not 40 characters of the right kind: refused                               about 1 us
    look-up       by keyed hash, in memory or PostgreSQL; unknown: refused without bcrypt    2 us, or a shared query
    confirmation  bcrypt against the hash in the secret store                                once in 15 minutes
    limit         one call to Redis, which also says whether what we remember is out of date
    conditions    suspension, address

What is remembered is read again from PostgreSQL when a notice came from PostgreSQL (`watch`), when Redis knows a higher
version of the tenant (`limits.script`), and in any case after a while (`finder`). Sessions are read each time: a
dashboard asks seldom.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from penguin_hub.http.principal import Address, Admission, Network, Principal
from penguin_hub.keys.confirm import Confirmer
from penguin_hub.keys.errors import AddressRefused, InvalidKey, TenantSuspended
from penguin_hub.keys.finder import Finder
from penguin_hub.keys.format import is_key
from penguin_hub.keys.hashing import Hasher
from penguin_hub.keys.lookup import Lookup
from penguin_hub.keys.peppers import Peppers
from penguin_hub.keys.usage import Usage
from penguin_hub.keys.watch import Watch
from penguin_hub.limits.service import Account, Limiter
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import HubError
from penguin_hub.platform.redis import Redis
from penguin_hub.tenants.plans import PLANS
from penguin_hub.tenants.schemas import Session
from penguin_hub.tenants.sessions import SessionsService, is_session_token
from penguin_hub.vault.service import SecretStore


class KeyGate:
    """The one gate of an API process. `open` before the first request, `close` after the last."""

    def __init__(
        self,
        database: Database,
        redis: Redis,
        secrets: SecretStore,
        limiter: Limiter,
        hasher: Hasher,
        sessions: SessionsService,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        peppers = Peppers(secrets, now=now)
        self._watch = Watch(database)
        self._lookup = Lookup(database, now=now)
        self._confirmer = Confirmer(database, redis, secrets, peppers, hasher, now=now)
        self._finder = Finder(self._lookup, self._confirmer, peppers, limiter, self._watch, now=now)
        self._limiter = limiter
        self._sessions = sessions
        self.usage = Usage(database)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []

    async def open(self) -> None:
        self._tasks = [asyncio.create_task(self._watch.run()), asyncio.create_task(self.usage.run(self._stop))]

    async def close(self) -> None:
        """Writes the usage that is not written yet."""
        self._stop.set()
        await self._lookup.close()
        await self._confirmer.close()
        if self._tasks:
            watching, counting = self._tasks
            watching.cancel()
            await asyncio.gather(watching, counting, return_exceptions=True)

    async def admit(self, credential: str, client: Address | None) -> Admission:
        """Raises InvalidKey, Unavailable."""
        if is_key(credential):
            return await self._key(credential, client)
        if is_session_token(credential):
            return await self._session(credential)
        raise InvalidKey("This API key is not valid.")

    def count(self, principal: Principal, status: int) -> None:
        if principal.actor.startswith("key_"):
            self.usage.count(principal.tenant, principal.actor, error=status >= 400)

    async def _key(self, key: str, client: Address | None) -> Admission:
        known, read_now = await self._finder.find(key)
        how = int(read_now)
        while (decision := await self._limiter.take(known.account, fresh=how)) is None:
            known, _ = await self._finder.find(key, renew=True)
            how = min(how + 1, 2)
        refusal: HubError | None = None
        if not decision.allowed:
            refusal = decision.refusal()
        elif known.record.tenant_status != "active":
            refusal = TenantSuspended("This tenant is suspended.")
        elif known.networks and not _within(client, known.networks):
            refusal = AddressRefused("This API key may not be used from this address.")
        return Admission(known.principal, decision.headers, refusal)

    async def _session(self, token: str) -> Admission:
        session = await self._sessions.find(token)
        how = 1
        while (decision := await self._limiter.take(self._account(session), fresh=how)) is None:
            session = await self._sessions.find(token)
            how = 2
        refusal: HubError | None = None
        if not decision.allowed:
            refusal = decision.refusal()
        elif session.tenant_status != "active":
            refusal = TenantSuspended("This tenant is suspended.")
        return Admission(session.principal(), decision.headers, refusal)

    def _account(self, session: Session) -> Account:
        limit = PLANS[session.plan].requests_per_minute
        return self._limiter.account(session.tenant, session.user, limit, session.tenant_version)


def _within(client: Address | None, networks: tuple[Network, ...]) -> bool:
    return client is not None and any(client in network for network in networks)
