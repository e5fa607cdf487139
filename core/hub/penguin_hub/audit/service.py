"""Who did what: written in the transaction of what was done, so that neither can be without the other."""

from datetime import datetime
from typing import Any

from penguin_hub.audit import store
from penguin_hub.audit.schemas import AuditEntry
from penguin_hub.http.paging import Page, Paging
from penguin_hub.http.principal import CLIENT_IP, Principal
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Connection, Database


class AuditService:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        connection: Connection,
        tenant: str,
        *,
        actor: str,
        action: str,
        target: str | None = None,
        **detail: Any,
    ) -> None:
        """One entry, in the caller's transaction. `detail` is shown to the tenant: no secret; ids rather than names."""
        entry = AuditEntry(
            id=ids.new("aud"),
            at=clock.now(),
            actor=actor,
            action=action,
            target=target,
            detail=detail,
            ip=CLIENT_IP.get(),
        )
        await store.insert(connection, tenant, entry)

    async def page(
        self,
        principal: Principal,
        paging: Paging,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Page[AuditEntry]:
        filters: dict[str, Any] = {"actor": actor, "action": action, "target": target, "since": since, "until": until}
        async with self._database.tenant(principal.tenant) as connection:
            found = await store.page(connection, principal.tenant, paging, **filters)
            total = None
            if paging.offset is not None:
                total = await store.count(connection, principal.tenant, **filters)
        return paging.page(found, lambda entry: (entry.at, entry.id), total)
