"""The audit log: written with what it tells of, read by its tenant, changed by nobody."""

import asyncpg
import pytest
from penguin_hub.audit.service import AuditService
from penguin_hub.http.paging import Pager
from penguin_hub.http.principal import CLIENT_IP, Principal
from penguin_hub.platform.db import Database, UniqueViolation
from support.tenants import make_principal


async def entries(audit: AuditService, principal: Principal, limit: int = 100, cursor: str | None = None) -> list[str]:
    paging = Pager(b"k").paging(
        tenant=principal.tenant, route="audit-log", limit=limit, cursor=cursor, sort_by="at", order="asc"
    )
    page = await audit.page(principal, paging)
    found = [entry.action for entry in page.data]
    return found + (await entries(audit, principal, limit, page.next_cursor) if page.next_cursor else [])


async def test_an_entry_stands_or_falls_with_what_it_tells_of(database: Database) -> None:
    audit, principal = AuditService(database), await make_principal(database)
    with pytest.raises(UniqueViolation):  # noqa: PT012 -- the entry must be written before what fails
        async with database.tenant(principal.tenant) as connection:
            await audit.add(connection, principal.tenant, actor="cli", action="undone")
            await connection.execute("INSERT INTO workspaces SELECT * FROM workspaces")
    async with database.tenant(principal.tenant) as connection:
        await audit.add(connection, principal.tenant, actor="cli", action="done")
    assert await entries(audit, principal) == ["done"]


async def test_pages_are_whole_and_in_order(database: Database) -> None:
    audit, principal = AuditService(database), await make_principal(database)
    async with database.tenant(principal.tenant) as connection:
        for number in range(25):
            await audit.add(connection, principal.tenant, actor="cli", action=f"step.{number:02}")
    assert await entries(audit, principal, limit=10) == [f"step.{number:02}" for number in range(25)]


async def test_nobody_changes_or_removes_an_entry(database: Database) -> None:
    audit, principal = AuditService(database), await make_principal(database)
    async with database.tenant(principal.tenant) as connection:
        await audit.add(connection, principal.tenant, actor="cli", action="done")
    for statement in ("UPDATE audit_log SET action = 'else'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        for bound in (database.tenant(principal.tenant), database.system()):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with bound as connection:
                    await connection.execute(statement)
    assert await entries(audit, principal) == ["done"]


async def test_a25_a_tenant_reads_its_own_log_only(database: Database) -> None:
    audit = AuditService(database)
    mine, other = await make_principal(database), await make_principal(database)
    async with database.tenant(mine.tenant) as connection:
        await audit.add(connection, mine.tenant, actor="cli", action="mine")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.tenant(mine.tenant) as connection:
            await audit.add(connection, other.tenant, actor="cli", action="forged")
    assert await entries(audit, other) == []


async def test_the_address_of_the_request_is_kept(database: Database) -> None:
    audit, principal = AuditService(database), await make_principal(database)
    token = CLIENT_IP.set("198.51.100.7")
    try:
        async with database.tenant(principal.tenant) as connection:
            await audit.add(connection, principal.tenant, actor="usr_x", action="done", target="key_x", count=2)
    finally:
        CLIENT_IP.reset(token)
    page = await audit.page(principal, Pager(b"k").paging(tenant=principal.tenant, route="a", limit=5, sort_by="at"))
    entry = page.data[0]
    assert (entry.ip, entry.target, entry.detail) == ("198.51.100.7", "key_x", {"count": 2})
