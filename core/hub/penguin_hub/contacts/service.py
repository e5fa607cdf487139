"""The rules of contacts. Each change and its event are one transaction."""

from collections.abc import Sequence
from typing import Any

import msgspec

from penguin_hub.contacts import store
from penguin_hub.contacts.errors import ContactChanged, ContactExists, ContactNotFound
from penguin_hub.contacts.schemas import Contact, ContactChange, Known, NewContact
from penguin_hub.events.schemas import NewEvent
from penguin_hub.events.service import EventsService
from penguin_hub.http.etags import etag
from penguin_hub.http.idempotency import NEVER_ASKED, Once
from penguin_hub.http.paging import Page, Paging
from penguin_hub.http.principal import Principal
from penguin_hub.platform import addresses, ids
from penguin_hub.platform.db import Connection, Database, UniqueViolation


class ContactsService:
    def __init__(self, database: Database, events: EventsService) -> None:
        self._database = database
        self._events = events

    async def create(self, principal: Principal, new: NewContact, once: Once = NEVER_ASKED) -> Contact:
        """Raises ContactExists, Invalid, and what `once` raises for a repeated request."""
        values = {"id": ids.new("con"), "workspace_id": principal.workspace, **_columns(msgspec.structs.asdict(new))}
        try:
            async with self._database.tenant(principal.tenant) as connection:
                await once.begin(connection)
                contact = await store.insert(connection, principal.tenant, values)
                await self._announce(connection, principal, "contact.created", contact)
                await once.keep(connection, contact, status=201, headers={"ETag": etag(contact.version)})
        except UniqueViolation:
            raise await self._exists(principal.tenant, values["email_key"]) from None
        return contact

    async def get(self, principal: Principal, contact_id: str) -> Contact:
        """Raises ContactNotFound."""
        async with self._database.tenant(principal.tenant) as connection:
            contact = await store.get(connection, principal.tenant, _checked(contact_id))
        if contact is None:
            raise _not_found()
        return contact

    async def page(
        self, principal: Principal, paging: Paging, *, email: str | None = None, tag: str | None = None
    ) -> Page[Contact]:
        """One page; `email` is compared as an address, `tag` exactly."""
        key = addresses.email(email, "?email")[1] if email is not None else None
        async with self._database.tenant(principal.tenant) as connection:
            found = await store.page(connection, principal.tenant, paging, email_key=key, tag=tag)
            total = None
            if paging.offset is not None:
                total = await store.count(connection, principal.tenant, email_key=key, tag=tag)
        return paging.page(found, lambda contact: (getattr(contact, paging.sort_by), contact.id), total)

    async def change(
        self, principal: Principal, contact_id: str, change: ContactChange | NewContact, version: int | None
    ) -> Contact:
        """Change what is given. `version`: only if it is still that one. Raises ContactNotFound, ContactChanged, ..."""
        given = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not msgspec.UNSET}
        values = _columns(given)
        try:
            async with self._database.tenant(principal.tenant) as connection:
                contact = await store.update(connection, principal.tenant, _checked(contact_id), values, version)
                if contact is None:
                    raise await self._missed(connection, principal.tenant, contact_id)
                await self._announce(connection, principal, "contact.updated", contact)
        except UniqueViolation:
            raise await self._exists(principal.tenant, values["email_key"]) from None
        return contact

    async def delete(self, principal: Principal, contact_id: str, version: int | None) -> None:
        """Raises ContactNotFound, ContactChanged."""
        async with self._database.tenant(principal.tenant) as connection:
            contact = await store.delete(connection, principal.tenant, _checked(contact_id), version)
            if contact is None:
                raise await self._missed(connection, principal.tenant, contact_id)
            await self._announce(connection, principal, "contact.deleted", contact)

    async def known(self, connection: Connection, tenant: str, email_keys: Sequence[str]) -> dict[str, Known]:
        """Address key -> contact, for those that are contacts; in the caller's transaction."""
        return await store.known(connection, tenant, email_keys)

    async def _announce(self, connection: Connection, principal: Principal, kind: str, contact: Contact) -> None:
        await self._events.add(
            connection,
            principal.tenant,
            NewEvent(
                type=kind,
                data=msgspec.to_builtins(contact),
                workspace=contact.workspace,
                tags=tuple(contact.tags),
                subject=contact.id,
                test=principal.environment == "test",
            ),
        )

    async def _exists(self, tenant: str, email_key: str) -> ContactExists:
        async with self._database.tenant(tenant) as connection:
            other = await store.id_by_email(connection, tenant, email_key)
        return ContactExists("There is a contact with this address already.", contact_id=other)

    async def _missed(self, connection: Connection, tenant: str, contact_id: str) -> Exception:
        if await store.get(connection, tenant, contact_id) is None:
            return _not_found()
        return ContactChanged("Somebody else changed this contact; read it again and repeat your change.")


def _columns(given: dict[str, Any]) -> dict[str, Any]:
    """What a client gave, as columns: the address checked and keyed, tags once each."""
    values = dict(given)
    if "email" in values:
        values["email"], values["email_key"] = addresses.email(values["email"], "#/email")
    if "tags" in values:
        values["tags"] = list(dict.fromkeys(values["tags"]))
    return values


def _checked(contact_id: str) -> str:
    if not ids.is_id(contact_id, "con"):
        raise _not_found()
    return contact_id


def _not_found() -> ContactNotFound:
    return ContactNotFound("There is no such contact.")
