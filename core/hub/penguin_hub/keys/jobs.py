"""What the worker does for keys every hour: takes the hashes of ended keys out of the secret store, forgets old usage
and ended sessions."""

from datetime import timedelta
from typing import Final

import structlog

from penguin_hub.keys import store
from penguin_hub.keys.confirm import secret_path
from penguin_hub.platform import clock
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import HubError
from penguin_hub.tenants.sessions import SessionsService
from penguin_hub.vault.service import SecretStore

log = structlog.get_logger(__name__)

ERASE_AFTER: Final = timedelta(hours=1)
KEEP_USAGE: Final = timedelta(days=400)
BATCH: Final = 500


async def clean_up(database: Database, secrets: SecretStore, sessions: SessionsService) -> None:
    """One round; whatever is left over waits for the next. May run in several processes at once. Raises Unavailable."""
    now = clock.now()
    async with database.system() as connection:
        ended = await store.to_erase(connection, now - ERASE_AFTER, BATCH)
    for tenant, key_id in ended:
        try:
            await secrets.erase(tenant, secret_path(key_id))
        except HubError as error:
            log.warning("key_hash_not_erased", key=key_id, code=error.code)
            break
        async with database.tenant(tenant) as connection:
            await store.erased(connection, tenant, key_id)
    while True:
        async with database.system() as connection:
            forgotten = await store.forget_usage(connection, now - KEEP_USAGE, BATCH)
        if forgotten < BATCH:
            break
    while await sessions.forget_expired(BATCH) == BATCH:
        pass
