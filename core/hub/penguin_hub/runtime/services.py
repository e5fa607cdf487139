"""The two services that commands of the operator call. They open in a third of the time that all services take."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from penguin_hub.audit.service import AuditService
from penguin_hub.keys.hashing import Hasher
from penguin_hub.keys.service import KeysService
from penguin_hub.limits.service import Limiter
from penguin_hub.platform.db import Database
from penguin_hub.platform.redis import Redis
from penguin_hub.settings import Settings
from penguin_hub.tenants.service import TenantsService
from penguin_hub.vault import open_store


@dataclass(frozen=True)
class Services:
    tenants: TenantsService
    keys: KeysService


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Services]:
    """Raises DatabaseUnavailable, and what opening the secret store raises."""
    database = Database(settings.database_url, app_size=2, system_size=2)
    await database.open()
    try:
        redis = Redis(settings.redis_url, connections=2)
        store = await open_store(settings, database)
        try:
            hasher = Hasher(threads=os.cpu_count())
            limiter = Limiter(redis, fixed=settings.rate_limit, nodes=settings.nodes)
            audit = AuditService(database)
            tenants = TenantsService(database, hasher, limiter, audit)
            yield Services(tenants, KeysService(database, store, hasher, limiter, tenants, audit))
        finally:
            await store.close()
            await redis.close()
    finally:
        await database.close()
