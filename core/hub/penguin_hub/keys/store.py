"""API keys and their usage in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from penguin_hub.http.paging import Paging
from penguin_hub.keys.schemas import ApiKey, Count, KeyRecord, UsagePoint
from penguin_hub.platform import clock
from penguin_hub.platform.db import Connection, Record

COLUMNS = (
    "id, name, environment, scopes, admin, allowed_ips, last4, created_at, created_by, expires_at, revoked_at, "
    "last_used_at, rotated_from, version"
)
SORTABLE = ("created_at", "name")

# A key's state as a condition; `$2` is the present moment.
STATUS: dict[str, str] = {
    "active": "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
    "expired": "revoked_at IS NULL AND expires_at <= $2",
    "revoked": "revoked_at IS NOT NULL AND $2::timestamptz IS NOT NULL",
}

_LOOKUP = """
    SELECT k.key_hmac, k.tenant_id AS tenant, k.id, k.environment, k.scopes, k.admin, k.allowed_ips, k.expires_at,
           k.revoked_at, k.pepper_id, t.plan, t.status AS tenant_status, t.version AS tenant_version,
           (SELECT min(w.id) FROM workspaces w WHERE w.tenant_id = k.tenant_id) AS workspace
    FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
    WHERE k.key_hmac = ANY($1::bytea[])
"""


def _api_key(row: Record) -> ApiKey:
    expires, revoked = row["expires_at"], row["revoked_at"]
    status: Literal["active", "expired", "revoked"] = "active"
    if revoked is not None:
        status = "revoked"
    elif expires is not None and expires <= clock.now():
        status = "expired"
    return ApiKey(prefix=f"pm_{row['environment']}_", status=status, **dict(row))


async def lookup(connection: Connection, digests: Sequence[bytes]) -> list[KeyRecord]:
    """The keys with these hashes, of whatever tenant: the hash is the credential that says which."""
    return [KeyRecord(**dict(row)) for row in await connection.fetch(_LOOKUP, list(digests))]


async def insert(connection: Connection, tenant: str, values: dict[str, Any]) -> ApiKey:
    names = ", ".join(values)
    places = ", ".join(f"${position}" for position in range(2, len(values) + 2))
    row = await connection.fetchrow(
        f"INSERT INTO api_keys (tenant_id, {names}) VALUES ($1, {places}) RETURNING {COLUMNS}",
        tenant,
        *values.values(),
    )
    assert row is not None
    return _api_key(row)


async def get(connection: Connection, tenant: str, key_id: str) -> ApiKey | None:
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM api_keys WHERE tenant_id = $1 AND id = $2", tenant, key_id)
    return _api_key(row) if row else None


async def locked(connection: Connection, tenant: str, key_id: str) -> ApiKey | None:
    """The key, held against other changes until the transaction ends."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM api_keys WHERE tenant_id = $1 AND id = $2 FOR UPDATE", tenant, key_id
    )
    return _api_key(row) if row else None


_CHANGEABLE = frozenset({"name", "scopes", "expires_at", "allowed_ips", "revoked_at"})


async def update(connection: Connection, tenant: str, key_id: str, changes: dict[str, Any]) -> ApiKey:
    if not changes.keys() <= _CHANGEABLE:
        raise ValueError("not a column that changes")
    assignments = "".join(f"{name} = ${position}, " for position, name in enumerate(changes, start=3))
    row = await connection.fetchrow(
        f"""UPDATE api_keys SET {assignments} version = version + 1
            WHERE tenant_id = $1 AND id = $2 RETURNING {COLUMNS}""",
        tenant,
        key_id,
        *changes.values(),
    )
    assert row is not None
    return _api_key(row)


async def rehash(connection: Connection, tenant: str, key_id: str, key_hmac: bytes, pepper_id: str) -> None:
    """The key's hash under a newer pepper."""
    await connection.execute(
        "UPDATE api_keys SET key_hmac = $3, pepper_id = $4 WHERE tenant_id = $1 AND id = $2",
        tenant,
        key_id,
        key_hmac,
        pepper_id,
    )


async def count_active(connection: Connection, tenant: str) -> int:
    found: int = await connection.fetchval(
        f"SELECT count(*) FROM api_keys WHERE tenant_id = $1 AND {STATUS['active']}", tenant, clock.now()
    )
    return found


async def page(
    connection: Connection, tenant: str, paging: Paging, *, environment: str | None, status: str | None
) -> list[ApiKey]:
    """One row more than asked for, so that the caller knows whether there is another page."""
    if paging.sort_by not in SORTABLE:
        raise ValueError("not a column to sort by")
    where, values = _filters(tenant, environment, status)
    direction, beyond = ("DESC", "<") if paging.descending else ("ASC", ">")
    if paging.after is not None:
        where += f" AND ({paging.sort_by}, id) {beyond} (${len(values) + 1}, ${len(values) + 2})"
        values += paging.after
    rows = await connection.fetch(
        f"""SELECT {COLUMNS} FROM api_keys WHERE {where}
            ORDER BY {paging.sort_by} {direction}, id {direction}
            LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}""",
        *values,
        paging.limit + 1,
        paging.offset or 0,
    )
    return [_api_key(row) for row in rows]


async def count(connection: Connection, tenant: str, *, environment: str | None, status: str | None) -> int:
    where, values = _filters(tenant, environment, status)
    found: int = await connection.fetchval(f"SELECT count(*) FROM api_keys WHERE {where}", *values)
    return found


def _filters(tenant: str, environment: str | None, status: str | None) -> tuple[str, list[Any]]:
    where, values = (
        f"tenant_id = $1 AND {STATUS.get(status or '', '$2::timestamptz IS NOT NULL')}",
        [tenant, clock.now()],
    )
    if environment is not None:
        values.append(environment)
        where += f" AND environment = ${len(values)}"
    return where, values


async def usage(
    connection: Connection, tenant: str, key_id: str, since: datetime, until: datetime, granularity: str
) -> list[UsagePoint]:
    """Every hour or day from `since` up to and without `until`, also those without a request."""
    rows = await connection.fetch(
        """SELECT slot, coalesce(sum(requests), 0)::bigint, coalesce(sum(errors), 0)::bigint
           FROM generate_series(date_trunc($5, $3::timestamptz, 'UTC'), $4::timestamptz - interval '1 microsecond',
                                ('1 ' || $5)::interval) AS slot
           LEFT JOIN key_usage ON tenant_id = $1 AND key_id = $2
                AND hour >= slot AND hour < slot + ('1 ' || $5)::interval
           GROUP BY slot ORDER BY slot""",
        tenant,
        key_id,
        since,
        until,
        granularity,
    )
    return [UsagePoint(*row) for row in rows]


async def add_usage(connection: Connection, counts: Sequence[Count]) -> None:
    """Add to what is there, one row for each key and hour. Keys that are gone meanwhile are left out."""
    await connection.execute(
        """WITH given AS (
               SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[],
                                    $6::timestamptz[]) AS g (tenant_id, key_id, hour, requests, errors, last_used_at)
           ), used AS (
               UPDATE api_keys k SET last_used_at = g.last_used_at
               FROM (SELECT tenant_id, key_id, max(last_used_at) AS last_used_at FROM given GROUP BY 1, 2) g
               WHERE k.tenant_id = g.tenant_id AND k.id = g.key_id
                 AND (k.last_used_at IS NULL OR k.last_used_at < g.last_used_at - interval '30 seconds')
           )
           INSERT INTO key_usage AS u (tenant_id, key_id, hour, requests, errors)
           SELECT g.tenant_id, g.key_id, g.hour, g.requests, g.errors
           FROM given g JOIN api_keys k ON k.tenant_id = g.tenant_id AND k.id = g.key_id
           -- One order for everybody who writes, so that two processes cannot wait for each other.
           ORDER BY 1, 2, 3
           ON CONFLICT (tenant_id, key_id, hour) DO UPDATE
               SET requests = u.requests + excluded.requests, errors = u.errors + excluded.errors""",
        *(list(column) for column in zip(*(_values(count) for count in counts), strict=True)),
    )


def _values(count: Count) -> tuple[Any, ...]:
    return count.tenant, count.key_id, count.hour, count.requests, count.errors, count.last_used_at


async def to_erase(connection: Connection, ended_before: datetime, most: int) -> list[tuple[str, str]]:
    """(tenant, key) of keys that ended before that moment and whose bcrypt hash may still be in the secret store."""
    rows = await connection.fetch(
        """SELECT tenant_id, id FROM api_keys
           WHERE erased_at IS NULL AND least(revoked_at, expires_at) < $1
           ORDER BY least(revoked_at, expires_at) LIMIT $2""",
        ended_before,
        most,
    )
    return [(row["tenant_id"], row["id"]) for row in rows]


async def erased(connection: Connection, tenant: str, key_id: str) -> None:
    await connection.execute(
        "UPDATE api_keys SET erased_at = $3 WHERE tenant_id = $1 AND id = $2", tenant, key_id, clock.now()
    )


async def forget_usage(connection: Connection, before: datetime, most: int) -> int:
    """Delete usage older than that; how many rows. At most so many, so that the transaction stays short."""
    done = await connection.execute(
        """DELETE FROM key_usage WHERE (tenant_id, key_id, hour) IN
               (SELECT tenant_id, key_id, hour FROM key_usage WHERE hour < $1 LIMIT $2)""",
        before,
        most,
    )
    return int(done.rpartition(" ")[2])
