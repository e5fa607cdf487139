"""The rules of messages: accepting them, showing them, and what providers report about them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from penguin_hub_sdk.events import Detail, E, ProviderEvent
from prometheus_client import Counter

from penguin_hub.connections.service import ConnectionsService
from penguin_hub.contacts.service import ContactsService
from penguin_hub.emails import compose, content, store, store_queue
from penguin_hub.emails.content import Draft
from penguin_hub.emails.errors import EmailNotFound
from penguin_hub.emails.recorder import Happened, Recorder
from penguin_hub.emails.schemas import AcceptedEmail, Email, EmailSummary, NewEmail
from penguin_hub.emails.suppressions.service import SuppressionsService
from penguin_hub.emails.timeline import Tracked
from penguin_hub.events.service import EventsService
from penguin_hub.events.wake import Wake
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Page, Paging
from penguin_hub.http.principal import Principal
from penguin_hub.platform import addresses, clock, ids
from penguin_hub.platform.db import Connection, Database

CHANNEL: Final = "emails"

ACCEPTED: Final = Counter("penguin_emails_accepted", "Messages accepted, by what they begin as.", ["status"])


class EmailsService:
    def __init__(
        self,
        database: Database,
        connections: ConnectionsService,
        events: EventsService,
        suppressions: SuppressionsService,
        contacts: ContactsService,
    ) -> None:
        self._database = database
        self._connections = connections
        self._suppressions = suppressions
        self._wake = Wake(database, CHANNEL)
        self.recorder = Recorder(events, suppressions, contacts)

    async def send(self, principal: Principal, new: NewEmail, once: Once) -> AcceptedEmail:
        """Store a message for sending: one transaction, after which nothing loses it.

        Raises Invalid; what `pick_email` raises for the connection; what `once` raises for a repeated request.
        """
        draft = compose.draft(new)
        tenant, test = principal.tenant, principal.environment == "test"
        email_id = ids.new("eml")
        message_id = compose.message_id(email_id, draft.content.sender.email)
        packed = content.pack(draft.content)
        async with self._database.tenant(tenant) as connection:
            await once.begin(connection)
            connection_id = await self._connections.pick_email(
                connection, tenant, stream=draft.stream, requested=draft.connection, environment=principal.environment
            )
            withheld = await self._withheld(connection, tenant, draft, test=test)
            status = await store.insert(
                connection,
                tenant,
                draft,
                email_id=email_id,
                workspace=principal.workspace,
                connection_id=connection_id,
                test=test,
                message_id=message_id,
                at=ids.created_at(email_id),
                content=packed,
                withheld=withheld,
            )
            if withheld:
                email = Tracked(
                    id=email_id,
                    workspace=principal.workspace,
                    connection=connection_id,
                    plugin=None,
                    status=status,
                    test=test,
                    message_id=message_id,
                    subject=draft.content.subject,
                    tags=list(draft.tags),
                    metadata=draft.metadata,
                )
                await self._tell_withheld(connection, tenant, email, draft, withheld)
            if status == "queued":
                self._wake.after(connection)
            accepted = AcceptedEmail(email_id, "queued" if status == "queued" else "suppressed")
            await once.keep(connection, accepted, status=202)
        ACCEPTED.labels(status).inc()
        return accepted

    async def get(self, principal: Principal, email_id: str) -> Email:
        """Raises EmailNotFound."""
        found = None
        if ids.is_id(email_id, "eml"):
            async with self._database.tenant(principal.tenant) as connection:
                found = await store.get(connection, principal.tenant, email_id)
        if found is None or found.test != (principal.environment == "test"):
            raise EmailNotFound("There is no such email.")
        return found

    async def page(
        self,
        principal: Principal,
        paging: Paging,
        *,
        recipient: str | None = None,
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        **filters: str | None,
    ) -> Page[EmailSummary]:
        """One page; `filters` are status, tag and connection."""
        wanted: dict[str, Any] = {
            **filters,
            "test": principal.environment == "test",
            "recipient": addresses.email(recipient, "?recipient")[1] if recipient is not None else None,
            "first": ids.lowest_at("eml", created_from) if created_from else None,
            "beyond": ids.lowest_at("eml", created_before) if created_before else None,
        }
        tenant = principal.tenant
        async with self._database.tenant(tenant) as connection:
            found = await store.page(connection, tenant, paging, wanted)
            total = await store.count(connection, tenant, wanted) if paging.offset is not None else None
        return paging.page(found, lambda email: (email.created_at, email.id), total)

    async def overdue(self) -> float:
        """Seconds that the longest due message of all tenants has been waiting for a worker."""
        async with self._database.system() as connection:
            due = await store_queue.longest_due(connection)
        return max(0.0, (clock.now() - due).total_seconds()) if due is not None else 0.0

    async def record(
        self, connection: Connection, tenant: str, connection_id: str, events: Sequence[ProviderEvent]
    ) -> None:
        """What a provider reported, in the caller's transaction: see `Recorder.record`."""
        await self.recorder.record(connection, tenant, connection_id, events)

    async def _withheld(self, connection: Connection, tenant: str, draft: Draft, *, test: bool) -> dict[str, str]:
        """Address key -> reason, for the recipients who must not be written to."""
        keys = [person.key for person in draft.recipients]
        standing = await self._suppressions.against(connection, tenant, keys)
        return {key: reason for key in keys if (reason := standing.reason(key, test=test, stream=draft.stream))}

    async def _tell_withheld(
        self, connection: Connection, tenant: str, email: Tracked, draft: Draft, withheld: dict[str, str]
    ) -> None:
        at = ids.created_at(email.id)
        await self.recorder.tell(
            connection,
            tenant,
            [
                Happened(email, E.FAILED, person.email, Detail(reason="suppressed", code=reason), at)
                for person in draft.recipients
                if (reason := withheld.get(person.key))
            ],
        )
