"""SQL of endpoints that are polled.

A reader goes through what was committed, in the order of the transactions' numbers. `done` is the snapshot (as
PostgreSQL writes one, `xmin:xmax:xip,...`) of everything he has had, `open` that of what he is reading now.
"""

from collections.abc import Sequence

from penguin_hub.platform.db import Connection, Record

CHANNEL = "polls"

_PAGE = """
    SELECT xid::text AS number, id FROM polled_events
    WHERE tenant_id = $1 AND endpoint_id = $2 AND id >= $3
        AND xid >= coalesce(pg_snapshot_xmin($4::text::pg_snapshot), '0') AND (xid, id) > ($6::text::xid8, $7)
        AND ($4::text IS NULL OR NOT pg_visible_in_snapshot(xid, $4::text::pg_snapshot))
        -- Visible and yet of the future: it was restored from another server's dump.
        AND (pg_visible_in_snapshot(xid, $5::text::pg_snapshot)
            OR $4::text IS NULL AND xid >= pg_snapshot_xmax(pg_current_snapshot()))
    ORDER BY xid, id LIMIT $8
"""


async def append(connection: Connection, tenant: str, events: Sequence[tuple[str, str]]) -> None:
    """(endpoint, event) for each, under the number of the caller's transaction."""
    await connection.execute(
        "INSERT INTO polled_events (tenant_id, endpoint_id, id) SELECT $1, * FROM unnest($2::text[], $3::text[])",
        tenant,
        [event[0] for event in events],
        [event[1] for event in events],
    )


async def now(connection: Connection, tenant: str) -> tuple[str, str]:
    """The snapshot of this moment; and which server's history it belongs to, because numbers of transactions of two
    servers, or of two timelines of one (after a failover, or a restore to a point in time), mean nothing together."""
    row = await connection.fetchrow(
        "SELECT pg_current_snapshot()::text AS snapshot, "
        "(SELECT system_identifier FROM pg_control_system())::text || '/' || "
        "left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) AS history WHERE $1::text IS NOT NULL",
        tenant,
    )
    if row is None:
        raise RuntimeError("a row without a table is always there")
    return row["snapshot"], row["history"]


async def page(
    connection: Connection,
    tenant: str,
    endpoint: str,
    *,
    low: str,
    done: str | None,
    open: str,
    after: tuple[str, str],
    limit: int,
) -> list[Record]:
    """Rows of (number, id) that are in `open` and not in `done`, past `after`; `low` is the lowest id that may come."""
    return await connection.fetch(_PAGE, tenant, endpoint, low, done, open, *after, limit)


async def sizes(connection: Connection, tenant: str, ids: Sequence[str]) -> dict[str, int]:
    """Bytes of each event's body; expunged and dropped ones are not in it."""
    rows = await connection.fetch(
        "SELECT id, octet_length(body) AS size FROM events "
        "WHERE tenant_id = $1 AND id = ANY ($2) AND id BETWEEN $3 AND $4 AND body IS NOT NULL",
        tenant,
        list(ids),
        min(ids),
        max(ids),
    )
    return {row["id"]: row["size"] for row in rows}


async def bodies(connection: Connection, tenant: str, ids: Sequence[str]) -> dict[str, bytes]:
    rows = await connection.fetch(
        "SELECT id, body FROM events "
        "WHERE tenant_id = $1 AND id = ANY ($2) AND id BETWEEN $3 AND $4 AND body IS NOT NULL",
        tenant,
        list(ids),
        min(ids),
        max(ids),
    )
    return {row["id"]: row["body"] for row in rows}


async def ring(connection: Connection, tenants: Sequence[str]) -> None:
    """Tell every API process that these tenants' polled endpoints have something new."""
    await connection.execute(
        "SELECT pg_notify($1, tenant) FROM unnest($2::text[]) AS told (tenant)", CHANNEL, list(tenants)
    )
