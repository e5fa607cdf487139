"""Upkeep by the clock: partitions made ahead, and retention."""

from datetime import timedelta
from typing import Final

from penguin_hub.delivery import store_partitions
from penguin_hub.platform import clock
from penguin_hub.platform.db import Database

AHEAD_DAYS: Final = 14
RETENTION_DAYS: Final = 30


async def keep_partitions(database: Database, *, retention_days: int = RETENTION_DAYS) -> None:
    """Make the partitions of the coming days and drop those past their time. Raises DatabaseUnavailable.

    To be run when a process starts and once a day; what comes while a day has no partition lies in the default one.
    """
    today = clock.now()
    async with database.system() as connection:
        await store_partitions.make(connection, today - timedelta(days=1), AHEAD_DAYS + 1)
        await store_partitions.drop_before(connection, today - timedelta(days=retention_days))
