"""What a connector gets besides its configuration and its network: a small memory and a log."""

from typing import Final

import structlog
from penguin_hub_sdk.errors import NetworkFailed

from penguin_hub.connections import store_upkeep
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import Unavailable
from penguin_hub.plugins.calls import redacted

log = structlog.get_logger("penguin_hub.plugin")

MAX_KEYS: Final = 64
MAX_KEY: Final = 128
MAX_VALUE: Final = 16 * 1024
"""Bytes."""
MAX_FIELDS: Final = 20
MAX_TEXT: Final = 500
_RESERVED: Final = frozenset({"event", "level", "timestamp", "logger", "plugin", "connection", "tenant", "exc_info"})


class ConnectionState:
    """`ctx.state`, kept in PostgreSQL."""

    def __init__(self, database: Database, tenant: str, connection: str) -> None:
        self._database = database
        self._tenant = tenant
        self._connection = connection

    async def get(self, key: str) -> str | None:
        _checked(key, "")
        try:
            async with self._database.tenant(self._tenant) as connection:
                return await store_upkeep.state(connection, self._tenant, self._connection, key)
        except Unavailable as error:
            raise NetworkFailed("The hub cannot read what the plugin keeps here now.") from error

    async def set(self, key: str, value: str | None) -> None:
        _checked(key, value or "")
        try:
            async with self._database.tenant(self._tenant) as connection:
                if value is None:
                    await store_upkeep.drop_state(connection, self._tenant, self._connection, key)
                elif not await store_upkeep.set_state(connection, self._tenant, self._connection, key, value, MAX_KEYS):
                    raise ValueError(f"a connector keeps at most {MAX_KEYS} values")
        except Unavailable as error:
            raise NetworkFailed("The hub cannot keep what the plugin wants to keep here now.") from error


class DraftState:
    """`ctx.state` of a configuration that is only being checked: there is no connection yet to keep anything for."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    async def get(self, key: str) -> str | None:
        _checked(key, "")
        return self._values.get(key)

    async def set(self, key: str, value: str | None) -> None:
        _checked(key, value or "")
        if value is None:
            self._values.pop(key, None)
        elif len(self._values) >= MAX_KEYS and key not in self._values:
            raise ValueError(f"a connector keeps at most {MAX_KEYS} values")
        else:
            self._values[key] = value


class ConnectionLog:
    """`ctx.log`: structured, cut to size, without the connection's secrets."""

    def __init__(self, plugin: str, connection: str, tenant: str, hidden: tuple[str, ...]) -> None:
        self._log = log.bind(plugin=plugin, connection=connection, tenant=tenant)
        self._hidden = hidden

    def info(self, event: str, **fields: object) -> None:
        self._log.info(self._text(event), **self._fields(fields))

    def warning(self, event: str, **fields: object) -> None:
        self._log.warning(self._text(event), **self._fields(fields))

    def _fields(self, fields: dict[str, object]) -> dict[str, object]:
        kept = [(name, value) for name, value in fields.items() if name not in _RESERVED][:MAX_FIELDS]
        return {name: value if isinstance(value, int | float) else self._text(value) for name, value in kept}

    def _text(self, value: object) -> str:
        return redacted(str(value), self._hidden)[:MAX_TEXT]


def _checked(key: str, value: str) -> None:
    if not (isinstance(key, str) and isinstance(value, str) and 1 <= len(key) <= MAX_KEY and "\0" not in key + value):
        raise ValueError(f"a key is a text of 1 to {MAX_KEY} characters, a value a text, both without NUL")
    if len(value.encode()) > MAX_VALUE:
        raise ValueError(f"a value has at most {MAX_VALUE} bytes")
