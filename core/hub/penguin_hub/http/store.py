"""The kept answers of requests with an Idempotency-Key, in PostgreSQL."""

from datetime import datetime

import msgspec

from penguin_hub.platform.db import Connection


class Kept(msgspec.Struct, frozen=True):
    """The answer that a key was given."""

    fingerprint: bytes
    status: int
    answer: bytes


async def begin(
    connection: Connection, tenant: str, key_hash: bytes, lock: int, now: datetime
) -> tuple[bool, Kept | None]:
    """Try to become the only one who works on a key until this transaction ends, and look for its answer.

    The statement sees what was committed before it began, so an answer that is being committed at this very moment may
    be missed: `keep` notices, because the key is unique.
    """
    row = await connection.fetchrow(
        """SELECT pg_try_advisory_xact_lock($3) AS alone, fingerprint, status, answer
           FROM (SELECT) AS nothing
           LEFT JOIN idempotency_keys ON tenant_id = $1 AND key_hash = $2 AND expires_at > $4""",
        tenant,
        key_hash,
        lock,
        now,
    )
    assert row is not None
    kept = Kept(row["fingerprint"], row["status"], row["answer"]) if row["status"] is not None else None
    return row["alone"], kept


async def keep(
    connection: Connection, tenant: str, key_hash: bytes, kept: Kept, now: datetime, expires_at: datetime
) -> bool:
    """Whether the key was free (or expired)."""
    return bool(
        await connection.fetchval(
            """INSERT INTO idempotency_keys AS old (tenant_id, key_hash, fingerprint, status, answer, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (tenant_id, key_hash) DO UPDATE SET fingerprint = excluded.fingerprint,
                   status = excluded.status, answer = excluded.answer, expires_at = excluded.expires_at
               WHERE old.expires_at <= $7
               RETURNING true""",
            tenant,
            key_hash,
            kept.fingerprint,
            kept.status,
            kept.answer,
            expires_at,
            now,
        )
    )


async def forget_expired(connection: Connection, now: datetime, limit: int) -> int:
    """Across tenants; how many."""
    rows = await connection.fetch(
        """DELETE FROM idempotency_keys WHERE (tenant_id, key_hash) IN (
               SELECT tenant_id, key_hash FROM idempotency_keys WHERE expires_at <= $1 LIMIT $2)
           RETURNING true""",
        now,
        limit,
    )
    return len(rows)
