"""What calls and checks of a connection say about it, and what follows from that."""

import time
from datetime import timedelta
from typing import Final

from penguin_hub_sdk.errors import PluginError

from penguin_hub.connections import store, store_upkeep
from penguin_hub.connections.configuration import trouble
from penguin_hub.connections.errors import ConnectionNotFound
from penguin_hub.connections.opening import Opener
from penguin_hub.connections.schemas import CheckResult, Row, Trouble
from penguin_hub.connections.views import Views
from penguin_hub.events.service import EventsService
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Database

TELL_AGAIN: Final = timedelta(hours=1)
"""A trouble that does not stop the connection, such as a quota, is told about once in so long."""


class Health:
    """Follows the effects that an error's type declares."""

    def __init__(self, database: Database, events: EventsService, opener: Opener, views: Views) -> None:
        self._database = database
        self._events = events
        self._opener = opener
        self._views = views

    async def check(self, tenant: str, connection_id: str) -> CheckResult:
        """See `ConnectionsService.check`."""
        started = time.monotonic()
        problem: PluginError | None = None
        try:
            opened = await self._opener.open(tenant, connection_id)
            started = time.monotonic()
            await opened.connector.check()
        except PluginError as error:
            problem = error
        result = CheckResult(
            id=ids.new("chk"),
            at=clock.now(),
            ok=problem is None,
            response_ms=elapsed(started),
            error=trouble(problem) if problem is not None else None,
        )
        async with self._database.tenant(tenant) as connection:
            if not await store_upkeep.add_check(connection, tenant, connection_id, result):
                raise ConnectionNotFound("There is no such connection.")
        await self.report(tenant, connection_id, problem)
        return result

    async def report(self, tenant: str, connection_id: str, error: PluginError | None) -> None:
        """See `ConnectionsService.report`."""
        if error is None and self._opener.untroubled(tenant, connection_id):
            return
        if error is not None and error.effect.connection == "active" and not error.effect.notify:
            return
        async with self._database.tenant(tenant) as connection:
            row = await store.get(connection, tenant, connection_id, lock=True)
            if row is None or (error is None and row.error is None):
                return
            found = trouble(error) if error is not None else None
            status = row.status
            if status in ("active", "error"):
                status = error.effect.connection if error is not None else "active"
            changed = await store.set_status(connection, tenant, row.id, status, found)
            if changed is not None and (kind := _news(row, status, found)):
                await self._events.add(connection, tenant, self._views.event(kind, changed))
        self._opener.forget(tenant, connection_id) if status != row.status else None


def _news(before: Row, status: str, found: Trouble | None) -> str | None:
    """The event a tenant is to get, if any."""
    if found is None:
        return "connection.recovered" if before.status == "error" else None
    if status != before.status or before.error is None or before.error.kind != found.kind:
        return "connection.error"
    if status == "active" and before.error_at is not None and clock.now() - before.error_at >= TELL_AGAIN:
        return "connection.error"
    return None


def elapsed(started: float) -> int:
    """Whole milliseconds since a reading of the monotonic clock."""
    return round((time.monotonic() - started) * 1000)
