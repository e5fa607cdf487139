"""What the clock asks of connections: checks, secrets that were left over, secrets that are out of date."""

from datetime import datetime

import msgspec

from penguin_hub.connections.schemas import CheckResult
from penguin_hub.http.paging import Paging
from penguin_hub.platform.db import Connection

_CHECK = "id, at, ok, response_ms, error"


async def claim_checks(connection: Connection, limit: int, seconds: float) -> list[tuple[str, str]]:
    """As the relay role: (tenant, connection) of checks that are due, put off by `seconds` and some jitter."""
    records = await connection.fetch(
        """UPDATE connections c SET next_check_at = now() + make_interval(secs => $2 * (0.8 + 0.4 * random()))
           FROM (SELECT tenant_id, id FROM connections
                 WHERE next_check_at <= now() AND status <> 'disabled' AND NOT built_in
                 ORDER BY next_check_at LIMIT $1 FOR UPDATE SKIP LOCKED) due
           WHERE c.tenant_id = due.tenant_id AND c.id = due.id RETURNING c.tenant_id, c.id""",
        limit,
        seconds,
    )
    return [(record["tenant_id"], record["id"]) for record in records]


async def add_check(connection: Connection, tenant: str, connection_id: str, result: CheckResult) -> bool:
    """False when the connection is gone."""
    there = await connection.fetchval(
        """UPDATE connections SET checked_at = $3, check_ok = $4, check_ms = $5
           WHERE tenant_id = $1 AND id = $2 RETURNING true""",
        tenant,
        connection_id,
        result.at,
        result.ok,
        result.response_ms,
    )
    if there:
        await connection.execute(
            """INSERT INTO connection_checks (tenant_id, id, connection_id, at, ok, response_ms, error)
               VALUES ($1, $2, $3, $4, $5, $6, $7)""",
            tenant,
            result.id,
            connection_id,
            result.at,
            result.ok,
            result.response_ms,
            msgspec.to_builtins(result.error) if result.error else None,
        )
    return bool(there)


async def checks(connection: Connection, tenant: str, connection_id: str, paging: Paging) -> list[CheckResult]:
    direction, beyond = ("DESC", "<") if paging.descending else ("ASC", ">")
    where, values = "tenant_id = $1 AND connection_id = $2", [tenant, connection_id]
    if paging.after is not None:
        where += f" AND (at, id) {beyond} ($3, $4)"
        values += paging.after
    records = await connection.fetch(
        f"""SELECT {_CHECK} FROM connection_checks WHERE {where} ORDER BY at {direction}, id {direction}
            LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}""",  # noqa: S608 -- words of our own; values are parameters
        *values,
        paging.limit + 1,
        paging.offset or 0,
    )
    return [msgspec.convert(dict(record), CheckResult, builtin_types=(datetime,)) for record in records]


async def count_checks(connection: Connection, tenant: str, connection_id: str) -> int:
    found: int = await connection.fetchval(
        "SELECT count(*) FROM connection_checks WHERE tenant_id = $1 AND connection_id = $2", tenant, connection_id
    )
    return found


async def drop_checks(connection: Connection, before: datetime) -> int:
    """As the relay role: forget what is older."""
    records = await connection.fetch(
        """DELETE FROM connection_checks WHERE (tenant_id, id) IN
               (SELECT tenant_id, id FROM connection_checks WHERE at < $1 LIMIT 10000) RETURNING 1""",
        before,
    )
    return len(records)


async def note_leftover(connection: Connection, tenant: str, connection_id: str, due_at: datetime) -> None:
    """Say that secrets at this connection's path belong to nobody unless this note is gone."""
    await connection.execute(
        "INSERT INTO connection_leftovers (tenant_id, connection_id, due_at) VALUES ($1, $2, $3)",
        tenant,
        connection_id,
        due_at,
    )


async def hold_leftover(connection: Connection, tenant: str, connection_id: str) -> bool:
    """Whether the note is there; it is locked until this transaction ends."""
    return bool(
        await connection.fetchval(
            "SELECT true FROM connection_leftovers WHERE tenant_id = $1 AND connection_id = $2 FOR UPDATE",
            tenant,
            connection_id,
        )
    )


async def drop_leftover(connection: Connection, tenant: str, connection_id: str) -> bool:
    """Whether the note was still there."""
    done = await connection.fetchval(
        "DELETE FROM connection_leftovers WHERE tenant_id = $1 AND connection_id = $2 RETURNING true",
        tenant,
        connection_id,
    )
    return bool(done)


async def due_leftovers(connection: Connection, limit: int) -> list[tuple[str, str]]:
    """As the relay role: (tenant, connection) of notes whose time has come, put off in case erasing fails."""
    records = await connection.fetch(
        """UPDATE connection_leftovers l SET due_at = now() + interval '10 minutes'
           FROM (SELECT tenant_id, connection_id FROM connection_leftovers WHERE due_at <= now()
                 ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED) due
           WHERE l.tenant_id = due.tenant_id AND l.connection_id = due.connection_id
           RETURNING l.tenant_id, l.connection_id""",
        limit,
    )
    return [(record["tenant_id"], record["connection_id"]) for record in records]


async def outdated(connection: Connection, limit: int) -> list[tuple[str, str]]:
    """As the relay role: (tenant, connection) whose previous secrets no provider uses any more."""
    records = await connection.fetch(
        "SELECT tenant_id, id FROM connections WHERE previous_until <= now() ORDER BY previous_until LIMIT $1", limit
    )
    return [(record["tenant_id"], record["id"]) for record in records]


async def forget_previous(connection: Connection, tenant: str, connection_id: str) -> int | None:
    """The secret version that is left; None when the previous one is not out of date any more."""
    kept: int | None = await connection.fetchval(
        """UPDATE connections SET previous = NULL, previous_until = NULL
           WHERE tenant_id = $1 AND id = $2 AND previous_until <= now() RETURNING secret_version""",
        tenant,
        connection_id,
    )
    return kept


async def state(connection: Connection, tenant: str, connection_id: str, key: str) -> str | None:
    found: str | None = await connection.fetchval(
        "SELECT value FROM connection_state WHERE tenant_id = $1 AND connection_id = $2 AND key = $3",
        tenant,
        connection_id,
        key,
    )
    return found


async def drop_state(connection: Connection, tenant: str, connection_id: str, key: str) -> None:
    await connection.execute(
        "DELETE FROM connection_state WHERE tenant_id = $1 AND connection_id = $2 AND key = $3",
        tenant,
        connection_id,
        key,
    )


async def set_state(connection: Connection, tenant: str, connection_id: str, key: str, value: str, most: int) -> bool:
    """False when there would be more than `most` keys."""
    await connection.execute(
        """INSERT INTO connection_state (tenant_id, connection_id, key, value) VALUES ($1, $2, $3, $4)
           ON CONFLICT (tenant_id, connection_id, key) DO UPDATE SET value = excluded.value""",
        tenant,
        connection_id,
        key,
        value,
    )
    found: int = await connection.fetchval(
        "SELECT count(*) FROM connection_state WHERE tenant_id = $1 AND connection_id = $2", tenant, connection_id
    )
    return found <= most
