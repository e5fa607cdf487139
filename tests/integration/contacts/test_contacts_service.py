"""Contacts on a real database: addresses are unique within a tenant, changes are guarded, each has its event."""

from collections.abc import Sequence

import pytest
from penguin_hub.contacts.errors import ContactChanged, ContactExists, ContactNotFound
from penguin_hub.contacts.schemas import ContactChange, NewContact
from penguin_hub.contacts.service import ContactsService
from penguin_hub.events.service import EventsService, Routed
from penguin_hub.http.paging import Pager
from penguin_hub.http.principal import Principal
from penguin_hub.platform.db import Connection, Database
from penguin_hub.platform.errors import Invalid
from support.tenants import make_principal


class Nobody:
    """No endpoint wants anything."""

    async def route(
        self, connection: Connection, tenant: str, events: Sequence[Routed]
    ) -> Sequence[tuple[str, str, str, str]]:
        return ()


@pytest.fixture
def contacts(database: Database) -> ContactsService:
    return ContactsService(database, EventsService(database, Nobody()))


@pytest.fixture
async def principal(database: Database) -> Principal:
    return await make_principal(database)


async def types_of_events(database: Database, principal: Principal) -> list[str]:
    async with database.tenant(principal.tenant) as connection:
        return [row["type"] for row in await connection.fetch("SELECT type FROM events ORDER BY id")]


async def test_a27_an_address_is_unique_within_a_tenant_and_no_oracle_beyond(
    database: Database, contacts: ContactsService, principal: Principal
) -> None:
    first = await contacts.create(principal, NewContact(email="Ada@Example.com"))
    with pytest.raises(ContactExists) as refusal:
        await contacts.create(principal, NewContact(email="ada@EXAMPLE.com"))
    assert refusal.value.extra == {"contact_id": first.id}
    stranger = await make_principal(database)
    assert (await contacts.create(stranger, NewContact(email="ada@example.com"))).id != first.id


async def test_each_change_and_its_event_are_one(
    database: Database, contacts: ContactsService, principal: Principal
) -> None:
    contact = await contacts.create(principal, NewContact(email="a@example.com", tags=["x", "x", "y"]))
    assert contact.tags == ["x", "y"]
    with pytest.raises(ContactExists):
        await contacts.create(principal, NewContact(email="a@example.com"))
    await contacts.change(principal, contact.id, ContactChange(first_name="Ada"), None)
    await contacts.delete(principal, contact.id, None)
    assert await types_of_events(database, principal) == ["contact.created", "contact.updated", "contact.deleted"]


async def test_a19_a_stale_version_changes_nothing(contacts: ContactsService, principal: Principal) -> None:
    contact = await contacts.create(principal, NewContact(email="a@example.com", first_name="Ada"))
    changed = await contacts.change(principal, contact.id, ContactChange(first_name=None), contact.version)
    assert (changed.first_name, changed.version) == (None, contact.version + 1)
    with pytest.raises(ContactChanged):
        await contacts.change(principal, contact.id, ContactChange(first_name="Eve"), contact.version)
    with pytest.raises(ContactChanged):
        await contacts.delete(principal, contact.id, contact.version)
    assert (await contacts.get(principal, contact.id)).first_name is None


async def test_put_empties_what_it_leaves_out_and_patch_does_not(
    contacts: ContactsService, principal: Principal
) -> None:
    contact = await contacts.create(
        principal, NewContact(email="a@example.com", first_name="Ada", tags=["x"], attributes={"plan": "gold"})
    )
    kept = await contacts.change(principal, contact.id, ContactChange(last_name="Byron"), None)
    assert (kept.first_name, kept.last_name, kept.tags, kept.attributes) == ("Ada", "Byron", ["x"], {"plan": "gold"})
    emptied = await contacts.change(principal, contact.id, NewContact(email="a@example.com"), None)
    assert (emptied.first_name, emptied.tags, emptied.attributes) == (None, [], {})


@pytest.mark.parametrize("email", ["", "a", "a@", "@b.c", "a b@example.com", "a@example..com", "a\r\nb@example.com"])
async def test_what_is_no_address_is_refused(contacts: ContactsService, principal: Principal, email: str) -> None:
    with pytest.raises(Invalid) as refusal:
        await contacts.create(principal, NewContact(email=email))
    assert refusal.value.errors[0].pointer == "#/email"


async def test_a25_anothers_contact_is_not_there(
    database: Database, contacts: ContactsService, principal: Principal
) -> None:
    contact = await contacts.create(principal, NewContact(email="a@example.com"))
    stranger = await make_principal(database)
    for attempt in (
        contacts.get(stranger, contact.id),
        contacts.change(stranger, contact.id, ContactChange(first_name="Eve"), None),
        contacts.delete(stranger, contact.id, None),
    ):
        with pytest.raises(ContactNotFound):
            await attempt
    assert (await contacts.get(principal, contact.id)).version == 1


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a14_pages_neither_skip_nor_repeat_while_rows_come_and_go(
    contacts: ContactsService, principal: Principal, order: str
) -> None:
    pager = Pager(b"k" * 32)
    there = [(await contacts.create(principal, NewContact(email=f"c{n}@example.com"))).id for n in range(25)]
    seen: list[str] = []
    cursor: str | None = None
    turn = 0
    while True:
        paging = pager.paging(tenant=principal.tenant, route="contacts", limit=7, cursor=cursor, order=order)
        page = await contacts.page(principal, paging)
        seen += [contact.id for contact in page.data]
        extra = await contacts.create(principal, NewContact(email=f"new{turn}@example.com"))
        if turn % 2:
            await contacts.delete(principal, extra.id, None)
        turn += 1
        cursor = page.next_cursor
        if not page.has_more:
            break
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)


async def test_filters_and_totals(contacts: ContactsService, principal: Principal) -> None:
    for n in range(5):
        await contacts.create(principal, NewContact(email=f"c{n}@example.com", tags=["even"] if n % 2 == 0 else []))
    pager = Pager(b"k" * 32)
    tagged = await contacts.page(
        principal, pager.paging(tenant=principal.tenant, route="contacts", limit=2, offset=1), tag="even"
    )
    assert (len(tagged.data), tagged.total, tagged.has_more) == (2, 3, False)
    one = await contacts.page(
        principal, pager.paging(tenant=principal.tenant, route="contacts", limit=2), email="C3@Example.com"
    )
    assert [contact.email for contact in one.data] == ["c3@example.com"]
