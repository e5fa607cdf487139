"""Writes what happened to messages: the timeline, the states, the suppressions and the tenant's events, in one go."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec
from penguin_hub_sdk.events import Detail, E, ProviderEvent

from penguin_hub.contacts.schemas import Known
from penguin_hub.contacts.service import ContactsService
from penguin_hub.emails import store_queue, store_timeline
from penguin_hub.emails.outcome import Attempt, Line, judge, sent_key
from penguin_hub.emails.store_timeline import Entry
from penguin_hub.emails.suppressions.schemas import Found
from penguin_hub.emails.suppressions.service import SuppressionsService
from penguin_hub.emails.timeline import LEFT, TOLD, Person, Tracked, suppression
from penguin_hub.events.schemas import NewEvent
from penguin_hub.events.service import EventsService
from penguin_hub.platform import addresses, clock, ids
from penguin_hub.platform.db import Connection
from penguin_hub.platform.errors import Invalid

_MAX_KEY = 200
_MAX_REASON = 1000


class Happened(msgspec.Struct, frozen=True):
    """Something that the tenant's webhooks are told."""

    email: Tracked
    kind: E
    recipient: str | None
    detail: Detail
    at: datetime

    def announcement(self, contact: Known | None) -> NewEvent:
        """The event; its tags are the contact's, which endpoints filter by."""
        return NewEvent(
            type=self.kind,
            data={
                **self.email.payload(self.recipient, self.detail),
                "contact_id": contact.id if contact is not None else None,
            },
            workspace=self.email.workspace,
            tags=tuple(contact.tags) if contact is not None else (),
            occurred_at=self.at,
            test=self.email.test,
            subject=self.email.id,
        )


class _Consequences:
    """What a transaction gathers before it writes each kind at once."""

    def __init__(self) -> None:
        self.events: list[Happened] = []
        self.found: list[Found] = []
        self.lifted: list[tuple[bool, str]] = []

    def tell(self, told: Iterable[tuple[Tracked, Line]], now: datetime) -> None:
        for email, line in told:
            self.events.append(Happened(email, line.type, line.recipient, line.detail, now))
            if line.recipient and (person := _person(email, line.recipient)):
                self.suppress(line.type, line.detail, person.email, person.key, test=email.test)

    def suppress(self, kind: E, detail: Detail, email: str, key: str, *, test: bool) -> None:
        if (reason := suppression(kind, detail)) is not None:
            self.found.append(Found(email, key, test, *reason))
        elif kind is E.RESUBSCRIBED:
            self.lifted.append((test, key))


class Recorder:
    def __init__(self, events: EventsService, suppressions: SuppressionsService, contacts: ContactsService) -> None:
        self._events = events
        self._suppressions = suppressions
        self._contacts = contacts

    async def record(
        self, connection: Connection, tenant: str, connection_id: str, events: Sequence[ProviderEvent]
    ) -> None:
        """What a provider reported, in the caller's transaction. A repeated report changes nothing.

        Matched by our own id where the provider gives it back, else by the provider's. A report on a message that is
        not known is kept aside: it may have overtaken the receipt.
        """
        if not events:
            return
        events = [_fitted(event) for event in events]
        named = sorted({event.message for event in events if event.message})
        known = await store_timeline.by_provider_id(connection, tenant, connection_id, named) if named else {}
        own = {email_id for event in events if (email_id := _own_id(event))}
        tracked = await store_timeline.lock(connection, tenant, sorted(own | set(known.values())))

        def match(event: ProviderEvent) -> Tracked | None:
            for email_id in (_own_id(event), known.get(event.message or "")):
                # A provider speaks for the messages that went through it, and for no others of the tenant.
                if email_id and (email := tracked.get(email_id)) and email.connection == connection_id:
                    return email
            return None

        matched = [(email, event) for event in events if (email := match(event)) is not None]
        gathered = _Consequences()
        if strangers := [event for event in events if match(event) is None]:
            await self._keep(connection, tenant, connection_id, strangers, gathered)
        if matched:
            await self._apply(connection, tenant, matched, gathered)
        await self._write(connection, tenant, connection_id, {email.id: email for email, _ in matched}, gathered)

    async def settle(
        self, connection: Connection, tenant: str, connection_id: str, plugin: str | None, attempts: Sequence[Attempt]
    ) -> None:
        """What came of attempts through one connection, for those whose lease is still held; the rest is dropped."""
        now = clock.now()
        held = await store_queue.held(connection, tenant, [attempt.claim for attempt in attempts])
        tracked = await store_timeline.lock(connection, tenant, sorted(held))
        entries: list[Entry] = []
        told: list[tuple[Tracked, Line]] = []
        # A message that was deleted while it waited leaves the queue too.
        done = sorted(held - tracked.keys())
        again: list[tuple[str, datetime, int]] = []
        receipts: dict[str, str] = {}
        announced: list[tuple[str, ProviderEvent]] = []
        gathered = _Consequences()
        for attempt in attempts:
            email = tracked.get(attempt.claim.email_id)
            if email is None:
                continue
            email.plugin = plugin or email.plugin
            lines, retry = judge(email, attempt, now)
            for line in lines:
                entries.append(Entry(email.id, line.key, line.type, now, line.recipient, line.detail))
                if line.told:
                    told.append((email, line))
            if retry is None:
                done.append(email.id)
            else:
                again.append((email.id, *retry))
            if attempt.receipt is not None:
                receipts[email.id] = attempt.receipt.id
                announced += [
                    (email.id, msgspec.structs.replace(_fitted(event), email=email.id))
                    for event in attempt.receipt.events
                ]
        new = await store_timeline.add_entries(connection, tenant, entries) if entries else set()
        # A report of the provider may have told it before.
        gathered.tell(((email, line) for email, line in told if (email.id, line.key) in new), now)
        if receipts:
            await store_timeline.add_receipts(connection, tenant, connection_id, receipts)
        if announced:
            await store_timeline.schedule(connection, tenant, connection_id, announced)
        await store_queue.settle(connection, tenant, done, again)
        await self._write(connection, tenant, connection_id, tracked, gathered)
        if receipts:
            await self.match_late(connection, tenant, connection_id, list(receipts.values()))

    async def match_late(
        self, connection: Connection, tenant: str, connection_id: str, provider_ids: Sequence[str]
    ) -> None:
        """Record the reports that came before their message's receipt."""
        early = await store_timeline.take_unmatched(connection, tenant, connection_id, provider_ids)
        await self.record(connection, tenant, connection_id, early)

    async def _keep(
        self,
        connection: Connection,
        tenant: str,
        connection_id: str,
        events: Sequence[ProviderEvent],
        gathered: _Consequences,
    ) -> None:
        """Reports on unknown messages: a complaint is one, whoever sent what it is about."""
        new = await store_timeline.keep_unmatched(connection, tenant, connection_id, events)
        for event in events:
            if event.key in new and event.recipient and (key := _key(event.recipient)):
                gathered.suppress(event.type, event.detail, event.recipient, key, test=False)

    async def _apply(
        self,
        connection: Connection,
        tenant: str,
        matched: Sequence[tuple[Tracked, ProviderEvent]],
        gathered: _Consequences,
    ) -> None:
        by_key = {(email.id, event.key): (email, event) for email, event in (*implied(matched), *matched)}
        new = await store_timeline.add_entries(
            connection,
            tenant,
            [
                Entry(email.id, event.key, event.type, event.at, event.recipient, event.detail, event.raw_type)
                for email, event in by_key.values()
            ],
        )
        fresh = [by_key[pair] for pair in by_key if pair in new]
        for email, event in sorted(fresh, key=lambda pair: (pair[1].at, pair[1].type is not E.SENT)):
            person = email.person(_key(event.recipient) if event.recipient else None)
            email.apply(event.type, person)
            recipient = person.email if person is not None else event.recipient
            if event.type in TOLD or event.key == (person and sent_key(person.position)):
                gathered.events.append(Happened(email, event.type, recipient, event.detail, event.at))
            if person is not None:
                gathered.suppress(event.type, event.detail, person.email, person.key, test=email.test)

    async def _write(
        self,
        connection: Connection,
        tenant: str,
        connection_id: str,
        tracked: dict[str, Tracked],
        gathered: _Consequences,
    ) -> None:
        if tracked:
            await store_timeline.save(connection, tenant, list(tracked.values()))
        await self._suppressions.add(connection, tenant, gathered.found, connection_id)
        if gathered.lifted:
            await self._suppressions.lift(connection, tenant, gathered.lifted)
        await self.tell(connection, tenant, gathered.events)

    async def tell(self, connection: Connection, tenant: str, happened: Sequence[Happened]) -> None:
        """The tenant's events of these, each with the contact that the recipient is."""
        if not happened:
            return
        keys = {one.recipient: _key(one.recipient) for one in happened if one.recipient}
        contacts = await self._contacts.known(connection, tenant, sorted(filter(None, keys.values())))
        await self._events.add_many(
            connection,
            tenant,
            [one.announcement(contacts.get(keys.get(one.recipient or "") or "")) for one in happened],
        )


def implied(matched: Iterable[tuple[Tracked, ProviderEvent]]) -> list[tuple[Tracked, ProviderEvent]]:
    """That a message was sent, where a provider reports on it before we have noted so: a worker was killed between the
    provider's yes and our note, or the report was faster. The tenant hears `email.sent` either way, and once."""
    found = []
    for email, event in matched:
        person = email.person(_key(event.recipient) if event.recipient else None)
        if person is not None and person.status in ("queued", "deferred") and event.type in LEFT:
            sent = msgspec.structs.replace(event, type=E.SENT, key=sent_key(person.position), detail=Detail())
            found.append((email, sent))
    return found


def _own_id(event: ProviderEvent) -> str | None:
    """Our id of the message: given back as metadata, or standing in the Message-ID that a reply refers to."""
    for candidate in (event.email, (event.message or "").partition("@")[0]):
        if candidate and ids.is_id(candidate, "eml"):
            return candidate
    return None


def _person(email: Tracked, address: str) -> Person | None:
    return next((person for person in email.people if person.email == address), None)


def _key(address: str) -> str | None:
    try:
        return addresses.email(address, "")[1]
    except Invalid:
        return None


def _fitted(event: ProviderEvent) -> ProviderEvent:
    """A report with its texts cut to what a timeline shows and an index holds."""
    cut: Callable[[str | None, int], str | None] = lambda text, limit: text[:limit] if text else text  # noqa: E731
    key = event.key if len(event.key) <= _MAX_KEY else hashlib.sha256(event.key.encode()).hexdigest()
    return msgspec.structs.replace(
        event,
        key=key,
        raw_type=event.raw_type[:100],
        message=cut(event.message, 512),
        recipient=cut(event.recipient, 320),
        detail=msgspec.structs.replace(
            event.detail,
            reason=cut(event.detail.reason, _MAX_REASON),
            code=cut(event.detail.code, 64),
            url=cut(event.detail.url, 2048),
            user_agent=cut(event.detail.user_agent, 500),
            ip=cut(event.detail.ip, 45),
        ),
    )
