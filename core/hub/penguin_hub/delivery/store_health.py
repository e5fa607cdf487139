"""SQL of endpoints' health, as the workers write it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from penguin_hub.platform.db import Connection, Record

if TYPE_CHECKING:
    from penguin_hub.delivery.health import Tally


async def add_stats(connection: Connection, tallies: Mapping[tuple[str, str, datetime], "Tally"]) -> None:
    if not tallies:
        return
    # In the order of the keys, so that two workers never wait for each other's rows crosswise.
    rows = sorted((*key, tally.succeeded, tally.failed, tally.total_ms) for key, tally in tallies.items())
    await connection.execute(
        """
        INSERT INTO webhook_stats AS s (tenant_id, webhook_id, hour, succeeded, failed, total_ms)
        SELECT n.* FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[])
            AS n (tenant_id, webhook_id, hour, succeeded, failed, total_ms)
        WHERE EXISTS (SELECT FROM webhooks w WHERE w.tenant_id = n.tenant_id AND w.id = n.webhook_id)
        ON CONFLICT (tenant_id, webhook_id, hour) DO UPDATE SET succeeded = s.succeeded + EXCLUDED.succeeded,
            failed = s.failed + EXCLUDED.failed, total_ms = s.total_ms + EXCLUDED.total_ms
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def clear_failing(connection: Connection, endpoints: Sequence[tuple[str, str]]) -> None:
    await connection.execute(
        "UPDATE webhooks w SET failing_since = NULL, last_failed_at = NULL, warned = 0 "
        "FROM unnest($1::text[], $2::text[]) AS good (tenant_id, id) "
        "WHERE w.tenant_id = good.tenant_id AND w.id = good.id AND w.failing_since IS NOT NULL",
        [row[0] for row in endpoints],
        [row[1] for row in endpoints],
    )


async def note_failure(connection: Connection, tenant: str, endpoint: str, window: timedelta) -> Record | None:
    """(failing_since, failing, warned): since when and how long it has been failing; None when it is disabled."""
    return await connection.fetchrow(
        """
        UPDATE webhooks SET
            failing_since = CASE WHEN failing_since IS NULL OR last_failed_at < now() - $3::interval THEN now()
                ELSE failing_since END,
            warned = CASE WHEN failing_since IS NULL OR last_failed_at < now() - $3::interval THEN 0 ELSE warned END,
            last_failed_at = now()
        WHERE tenant_id = $1 AND id = $2 AND enabled
        RETURNING failing_since, now() - failing_since AS failing, warned
        """,
        tenant,
        endpoint,
        window,
    )


async def warned(connection: Connection, tenant: str, endpoint: str, percent: int) -> None:
    await connection.execute(
        "UPDATE webhooks SET warned = $3 WHERE tenant_id = $1 AND id = $2", tenant, endpoint, percent
    )


async def disable(connection: Connection, tenant: str, endpoint: str, reason: str) -> bool:
    """False when it was disabled already."""
    changed = await connection.fetchval(
        "UPDATE webhooks SET enabled = false, disabled_reason = $3, version = version + 1, updated_at = now() "
        "WHERE tenant_id = $1 AND id = $2 AND enabled RETURNING true",
        tenant,
        endpoint,
        reason,
    )
    if changed:
        await bump(connection, tenant)
    return bool(changed)


async def bump(connection: Connection, tenant: str) -> None:
    """The tenant's set of endpoints has changed: publishers read it again."""
    await connection.execute(
        "INSERT INTO webhook_sets AS s (tenant_id, version) VALUES ($1, 1) "
        "ON CONFLICT (tenant_id) DO UPDATE SET version = s.version + 1",
        tenant,
    )
