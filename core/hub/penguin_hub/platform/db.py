"""PostgreSQL: the truth. The only importer of asyncpg.

Two pools, two roles. `Database.tenant` runs as the application role, which owns nothing and sees only rows of the
tenant that the transaction is bound to (row-level security). `Database.system` runs as the relay role, which sees
across tenants, in exactly the tables whose migration gave it a policy: the outbox, key look-up, inbound requests.

Nothing here is ever set for a session: a transaction is bound with `set_config(..., true)`, so a pooled connection
carries nothing to its next borrower, and the pool need not pay a round trip to reset it.
"""

import asyncio
import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg
import msgspec
from piccolo.query.base import Query

from penguin_hub.platform import ids
from penguin_hub.platform.errors import Unavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Record: TypeAlias = asyncpg.Record
    Connection: TypeAlias = PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Record = asyncpg.Record
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

UniqueViolation = asyncpg.UniqueViolationError
ForeignKeyViolation = asyncpg.ForeignKeyViolationError

# What PostgreSQL or the way to it may do to us without any fault of the request.
_OUTAGES = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.ReadOnlySQLTransactionError,
    # Two who settle, renew or give back the same rows: one of them is rolled back, and tries again.
    asyncpg.DeadlockDetectedError,
    asyncpg.InterfaceError,
    # What the protocol says of a connection that the server ended in the middle of an exchange.
    asyncpg.InternalClientError,
    ConnectionError,
    TimeoutError,
    OSError,
)

# What a wrong DATABASE_URL gets as its answer.
_REFUSALS = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
)

# What is to happen once an open transaction has been committed, by the connection it runs on.
_after: dict[int, list[Callable[[], None]]] = {}

ACQUIRE_SECONDS = 5.0
STATEMENT_SECONDS = 30.0


class DatabaseUnavailable(Unavailable):
    """PostgreSQL cannot be reached or cannot answer now. Nothing was stored."""

    code = "database_unavailable"


class Database:
    """The pools of one process. Open it once; close it at the end."""

    def __init__(self, url: str, *, app_size: int = 16, system_size: int = 8) -> None:
        self._url = url
        self._sizes = app_size, system_size
        self._app: Pool | None = None
        self._system: Pool | None = None

    async def open(self) -> None:
        """Raises DatabaseUnavailable, with a sentence that says what to check."""
        app_size, system_size = self._sizes
        self._app = await _pool(role_url(self._url, "app"), app_size)
        self._system = await _pool(role_url(self._url, "system"), system_size)

    async def close(self) -> None:
        for pool in (self._app, self._system):
            if pool is not None:
                await pool.close()

    @asynccontextmanager
    async def tenant(self, tenant: str) -> AsyncIterator[Connection]:
        """One transaction that sees and writes the rows of `tenant` only. Committed when the block ends without error.

        No HTTP, Redis or secret-store call belongs inside it, and no two queries at once (one connection, one query).
        """
        if not ids.is_id(tenant, "ten"):
            raise ValueError("not a tenant id")
        # The id is of a checked form, so it may stand in the text: one round trip begins and binds the transaction.
        async with _transaction(self._app, f"BEGIN; SELECT set_config('app.tenant', '{tenant}', true)") as connection:
            yield connection

    @asynccontextmanager
    async def system(self) -> AsyncIterator[Connection]:
        """One transaction across tenants, for the outbox, key look-up and inbound requests only."""
        async with _transaction(self._system, "BEGIN") as connection:
            yield connection

    async def check(self) -> None:
        """Raises DatabaseUnavailable."""
        async with self.system() as connection:
            await connection.execute("SELECT 1")

    async def listen(self, channel: str) -> "Listener":
        """A connection of its own that hears NOTIFY on `channel`."""
        return await Listener.open(role_url(self._url, "system"), channel)

    async def session(self) -> "Session":
        """A connection of the relay role outside the pools, for what lives as long as a process. Raises
        DatabaseUnavailable."""
        try:
            return Session(await asyncpg.connect(role_url(self._url, "system"), timeout=ACQUIRE_SECONDS))
        except _OUTAGES as error:
            raise DatabaseUnavailable("The database does not answer.", retry_after=1) from error


class Session:
    """One connection; each statement is its own transaction."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def execute(self, sql: str) -> None:
        """Raises DatabaseUnavailable."""
        try:
            await self._connection.execute(sql, timeout=ACQUIRE_SECONDS)
        except _OUTAGES as error:
            raise DatabaseUnavailable("The database does not answer.", retry_after=1) from error

    def is_closed(self) -> bool:
        return self._connection.is_closed()

    async def close(self) -> None:
        await self._connection.close(timeout=2)


class Listener:
    """Hears one channel. `heard` is set by each notice, `told` gathers their payloads: a notice is only a hint."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self.heard = asyncio.Event()
        self.told: set[str] = set()

    def _hear(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self.told.add(str(payload))
        self.heard.set()

    @classmethod
    async def open(cls, url: str, channel: str) -> "Listener":
        try:
            connection = await asyncpg.connect(url, timeout=ACQUIRE_SECONDS)
            listener = cls(connection)
            try:
                await connection.add_listener(channel, listener._hear)
            except BaseException:
                connection.terminate()
                raise
        except _OUTAGES as error:
            raise DatabaseUnavailable("The database does not answer.", retry_after=1) from error
        return listener

    def is_closed(self) -> bool:
        return self._connection.is_closed()

    async def ping(self, seconds: float) -> None:
        """Raises DatabaseUnavailable when the other end does not answer in that time."""
        try:
            await self._connection.execute("SELECT 1", timeout=seconds)
        except _OUTAGES as error:
            raise DatabaseUnavailable("The database does not answer.", retry_after=1) from error

    async def close(self) -> None:
        await self._connection.close(timeout=2)


@asynccontextmanager
async def owner(url: str) -> AsyncIterator[Connection]:
    """One connection as the database's owner, for migrations and `penguin doctor`. Raises DatabaseUnavailable."""
    try:
        connection = await asyncpg.connect(url, timeout=ACQUIRE_SECONDS)
    except (*_OUTAGES, *_REFUSALS) as error:
        raise _cannot_use(url, error) from error
    try:
        yield connection  # type: ignore[misc] # a plain connection and a pool's proxy have the same methods
    finally:
        await connection.close(timeout=5)


async def rows(connection: Connection, query: Query[Any, Any]) -> list[Record]:
    """Run a query that Piccolo's builder made, on this transaction."""
    found: list[Record] = []
    for part in query.querystrings:
        sql, arguments = part.compile_string()
        found = await connection.fetch(sql, *arguments)
    return found


def after_commit(connection: Connection, callback: Callable[[], None]) -> None:
    """Call `callback` when this transaction has been committed; never when it is rolled back. It must not raise.

    For hints (a wake-up) only: a process that is killed right after its commit calls nothing.
    """
    _after[id(connection)].append(callback)


def role_name(url: str, role: str) -> str:
    """The restricted role of this database: `<database>_app` or `<database>_system`."""
    return f"{unquote(urlsplit(url).path.lstrip('/')) or 'postgres'}_{role}"


def role_password(url: str, role: str) -> str:
    """The restricted role's password: derived, so that every node knows it and nothing stores it."""
    return urlsafe_b64encode(derived_key(url, f"role {role_name(url, role)}")).decode().rstrip("=")


def derived_key(url: str, purpose: str) -> bytes:
    """32 bytes for one purpose, a keyed hash of the owner's password: the same on every node, stored on none."""
    owner = unquote(urlsplit(url).password or "")
    return hmac.digest(owner.encode(), f"penguin-hub {purpose}".encode(), hashlib.sha256)


def role_url(url: str, role: str) -> str:
    """The same database by the restricted role."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    login = f"{quote(role_name(url, role), safe='')}:{role_password(url, role)}"
    return urlunsplit(parts._replace(netloc=f"{login}@{host}"))


@asynccontextmanager
async def _transaction(pool: Pool | None, begin: str) -> AsyncIterator[Connection]:
    if pool is None:
        raise DatabaseUnavailable("The database is not connected yet.", retry_after=1)
    try:
        async with pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
            await connection.execute(begin)
            callbacks: list[Callable[[], None]] = []
            _after[id(connection)] = callbacks
            try:
                yield connection
                if await connection.execute("COMMIT") != "COMMIT":
                    # PostgreSQL answers COMMIT with ROLLBACK when a statement had failed and somebody went on.
                    raise RuntimeError("a statement of this transaction failed; nothing was stored")
            except BaseException:
                if not connection.is_closed() and connection.is_in_transaction():
                    await connection.execute("ROLLBACK")
                raise
            finally:
                del _after[id(connection)]
            for callback in callbacks:
                callback()
    except asyncpg.CheckViolationError as error:
        if error.constraint_name is not None:
            raise
        # The row was on its way to the default partition while that of its day was made: now there is a place for it.
        raise DatabaseUnavailable("The database was being arranged; nothing was stored.", retry_after=1) from error
    except _OUTAGES as error:
        raise DatabaseUnavailable("The database does not answer.", retry_after=1) from error


async def _reset(connection: Any) -> None:
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


async def _init(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda raw: msgspec.json.decode(raw[1:]),
        format="binary",
    )


async def _pool(url: str, size: int) -> Pool:
    try:
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            timeout=ACQUIRE_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            init=_init,
            reset=_reset,
            max_inactive_connection_lifetime=60,
            server_settings={"application_name": "penguin-hub", "timezone": "UTC", "jit": "off"},
        )
    except (*_OUTAGES, *_REFUSALS) as error:
        raise _cannot_use(url, error) from error


def _cannot_use(url: str, error: Exception) -> DatabaseUnavailable:
    where = urlsplit(url).hostname or "its socket"
    return DatabaseUnavailable(
        f"PostgreSQL at {where} cannot be used ({type(error).__name__}): check that it runs, that DATABASE_URL is "
        "right, and that `penguin migrate` has run.",
        retry_after=5,
    )


def chunked(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """`items` in slices of at most `size`, for statements that take arrays."""
    return [items[start : start + size] for start in range(0, len(items), size)]
