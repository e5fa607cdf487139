"""Secrets and rows, kept in step although no transaction spans both.

A secret is written before the row that names it, and a note says that it belongs to nobody; the row's transaction takes
the note away. So a note that is still there once that transaction has ended, however it ended, means a secret without a
row. Removing is the same backwards: the row's transaction leaves a note, and the secret goes afterwards.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import structlog

from penguin_hub.connections import store, store_upkeep
from penguin_hub.connections.opening import path
from penguin_hub.platform import clock
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import HubError, Unavailable
from penguin_hub.vault.service import SecretStore

log = structlog.get_logger(__name__)

GRACE: Final = timedelta(minutes=10)
"""A note younger than this may still be somebody's who is about to save the row."""
BATCH: Final = 50


class Keeper:
    """The secrets of connections."""

    def __init__(self, database: Database, secrets: SecretStore) -> None:
        self._database = database
        self._secrets = secrets

    async def first(self, tenant: str, connection_id: str, fields: Mapping[str, str]) -> int:
        """Note, then write; gives the version. The row's transaction must call `store_upkeep.drop_leftover`."""
        async with self._database.tenant(tenant) as connection:
            await store_upkeep.note_leftover(connection, tenant, connection_id, clock.now() + GRACE)
        return await self._secrets.write(tenant, path(connection_id), fields, cas=0)

    async def next(self, tenant: str, connection_id: str, fields: Mapping[str, str]) -> int:
        """A further version, which counts for nothing until the row names it."""
        return await self._secrets.write(tenant, path(connection_id), fields, cas=None)

    async def replaced(self, tenant: str, connection_id: str, current: int, previous: int) -> None:
        """`current` is in force: destroy what came before it, but for `previous`. A higher version belongs to somebody
        who is still at it."""
        try:
            known = await self._secrets.versions(tenant, path(connection_id))
            gone = [v.version for v in known if v.version < current and v.version != previous and not v.destroyed]
            await self._secrets.destroy(tenant, path(connection_id), gone)
        except HubError as error:  # The next change tries again.
            log.warning("old_secrets_kept", connection=connection_id, reason=error.code)

    async def withdraw(self, tenant: str, connection_id: str, version: int) -> None:
        """The row did not come to name `version`, or it is not known whether it did."""
        try:
            async with self._database.tenant(tenant) as connection:
                row = await store.get(connection, tenant, connection_id, lock=True)
            if row is None:
                await self._secrets.erase(tenant, path(connection_id))
            elif row.secret_version != version:
                await self._secrets.destroy(tenant, path(connection_id), [version])
        except HubError as error:  # The next change tries again.
            log.warning("unused_secret_kept", connection=connection_id, reason=error.code)

    async def settle(self, tenant: str, connection_id: str) -> None:
        """Erase what belongs to nobody. Not being able to is no error: `upkeep` tries again."""
        try:
            async with self._database.tenant(tenant) as connection:
                # Waits for a transaction that is about to take the note away, whatever became of its client.
                if not await store_upkeep.hold_leftover(connection, tenant, connection_id):
                    return
            await self._secrets.erase(tenant, path(connection_id))
            async with self._database.tenant(tenant) as connection:
                await store_upkeep.drop_leftover(connection, tenant, connection_id)
        except Unavailable as error:
            log.warning("secret_left_over", connection=connection_id, reason=error.code)

    async def upkeep(self) -> int:
        """Settle what was left over and forget what is out of date; gives how many of both."""
        async with self._database.system() as connection:
            leftovers = await store_upkeep.due_leftovers(connection, BATCH)
            outdated = await store_upkeep.outdated(connection, BATCH)
        for tenant, connection_id in leftovers:
            await self.settle(tenant, connection_id)
        for tenant, connection_id in outdated:
            async with self._database.tenant(tenant) as connection:
                current = await store_upkeep.forget_previous(connection, tenant, connection_id)
            if current == 0:
                await self._secrets.erase(tenant, path(connection_id))
            elif current is not None:
                await self.replaced(tenant, connection_id, current, 0)
        return len(leftovers) + len(outdated)
