"""Upkeep by the clock: retention of providers' requests."""

from datetime import timedelta
from typing import Final

from penguin_hub.inbound import store
from penguin_hub.platform import clock
from penguin_hub.platform.db import Database

RETENTION_DAYS: Final = 30
_AT_ONCE: Final = 2_000


async def forget_old(database: Database, *, retention_days: int = RETENTION_DAYS) -> int:
    """Drop finished requests past their time, in short transactions; how many. Raises DatabaseUnavailable."""
    moment = clock.now() - timedelta(days=retention_days)
    gone = 0
    while True:
        async with database.system() as connection:
            count = await store.drop_before(connection, moment, _AT_ONCE)
        gone += count
        if count < _AT_ONCE:
            return gone
