"""Days of the big tables: made ahead of their time, dropped as a whole when they are over."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from penguin_hub.platform import ids
from penguin_hub.platform.db import Connection

# Table -> the prefix of the ids it is partitioned by.
PARTITIONED = {"events": "evt", "deliveries": "dlv", "attempts": "dlv", "polled_events": "evt"}


async def make(connection: Connection, first: datetime, days: int) -> int:
    """The partitions of so many days from `first`; returns how many were new."""
    made = 0
    for number in range(days):
        day = first.astimezone(UTC) + timedelta(days=number)
        for table, prefix in PARTITIONED.items():
            low, high = ids.bounds_for_day(prefix, day)
            made += bool(
                await connection.fetchval(
                    "SELECT hub_partition_make($1, $2, $3, $4)", table, f"{day:%Y%m%d}", low, high
                )
            )
    return made


async def drop_before(connection: Connection, day: datetime) -> list[str]:
    """Everything of earlier days than that of `day`, and the tenants' own ids of those events."""
    last = f"{day.astimezone(UTC):%Y%m%d}"
    dropped: list[str] = []
    for table in PARTITIONED:
        for name in await names(connection, table):
            part = name.rpartition("_")[2]
            if re.fullmatch(r"[0-9]{8}", part) and part < last:
                await connection.fetchval("SELECT hub_partition_drop($1, $2)", table, part)
                dropped.append(name)
    await connection.execute("DELETE FROM event_keys WHERE event_id < $1", ids.bounds_for_day("evt", day)[0])
    return dropped


async def names(connection: Connection, table: str) -> Sequence[str]:
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::regclass ORDER BY 1", table
    )
    return [row["name"] for row in rows]
