"""The delivery log: what went where, and sending it again."""

from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from penguin_hub.delivery import attempts, store, store_log, store_queue, store_recovery
from penguin_hub.delivery.errors import (
    BeingDelivered,
    DeliveryNotFound,
    PayloadExpired,
    RecoveryNotFound,
    WebhookDisabled,
    WebhookNotFound,
    WebhookPolled,
)
from penguin_hub.delivery.naming import delivery_id
from penguin_hub.delivery.schemas import (
    Attempt,
    Delivery,
    DeliveryDetail,
    Recovery,
    RecoveryWanted,
    Request,
    Response,
    TestEvent,
)
from penguin_hub.events.schemas import NewEvent
from penguin_hub.events.service import EventsService
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Page, Paging
from penguin_hub.http.principal import Principal
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Connection, Database, Record
from penguin_hub.platform.errors import Invalid

RECOVERY_DAYS: Final = 14
"""How far back a recovery may reach."""


class Examples(Protocol):
    """What an event of a type carries, for test deliveries; the catalogue of event types is one."""

    async def example(self, connection: Connection, tenant: str, type: str) -> dict[str, Any]: ...


class DeliveriesService:
    """One for the process."""

    def __init__(self, database: Database, events: EventsService, examples: Examples | None = None) -> None:
        self._database = database
        self._events = events
        self._examples = examples

    async def overdue(self) -> float:
        """Seconds that the longest due delivery of all tenants has been waiting for a worker."""
        async with self._database.system() as connection:
            return await store_queue.longest_overdue(connection)

    async def page(
        self,
        tenant: str,
        paging: Paging,
        *,
        webhook: str | None = None,
        event: str | None = None,
        type: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Page[Delivery]:
        """Raises WebhookNotFound for an endpoint that never was."""
        if event is not None and not ids.is_id(event, "evt"):
            return paging.page([], lambda delivery: (delivery.created_at, delivery.id))
        async with self._database.tenant(tenant) as connection:
            if webhook is not None and not await store.ever(connection, tenant, webhook):
                raise WebhookNotFound("There is no such endpoint.")
            rows, total = await store_log.page(
                connection,
                tenant,
                paging,
                webhook=webhook,
                event=event,
                type=type,
                status=status,
                since=since,
                until=until,
            )
        return paging.page([_shown(row) for row in rows], lambda delivery: (delivery.created_at, delivery.id), total)

    async def get(self, tenant: str, wanted: str) -> DeliveryDetail:
        """With all attempts. Raises DeliveryNotFound."""
        async with self._database.tenant(tenant) as connection:
            row = await _known(connection, tenant, wanted)
            tried = await store_log.attempts(connection, tenant, wanted)
            body = await store_log.payload(connection, tenant, row["event_id"])
        return DeliveryDetail(
            **msgspec.structs.asdict(_shown(row)),
            attempt_log=[_attempt(one) for one in tried],
            body=msgspec.Raw(body) if body is not None else None,
        )

    async def resend(self, principal: Principal, wanted: str, once: Once) -> Delivery:
        """Due at once, with all its retries again; attempts count on. A pending one is hurried, not doubled.

        Raises DeliveryNotFound, WebhookDisabled, PayloadExpired, BeingDelivered.
        """
        tenant = principal.tenant
        async with self._database.tenant(tenant) as connection:
            await once.begin(connection)
            row = await _known(connection, tenant, wanted)
            await _enabled(connection, tenant, row["endpoint_id"])
            if await store_log.payload(connection, tenant, row["event_id"]) is None:
                raise PayloadExpired("What this delivery carried is not kept any longer.")
            hurried = await store_log.hurry(connection, tenant, wanted)
            if hurried is False:
                raise BeingDelivered("An attempt is under way; wait for its outcome.", retry_after=1)
            if hurried is None:
                await store_log.requeue(connection, tenant, [wanted])
            answer = _shown(await _known(connection, tenant, wanted))
            await once.keep(connection, answer, status=202)
            self._events.wake.after(connection)
        return answer

    async def test(self, principal: Principal, webhook_id: str, wanted: TestEvent, once: Once) -> Delivery:
        """One event for this endpoint alone. Raises WebhookNotFound, WebhookDisabled."""
        tenant = principal.tenant
        async with self._database.tenant(tenant) as connection:
            await once.begin(connection)
            await _enabled(connection, tenant, webhook_id)
            data = wanted.data
            if data is None:
                data = await self._example(connection, tenant, wanted.type)
            event = NewEvent(type=wanted.type, data=data, workspace=principal.workspace, test=True, subject=webhook_id)
            number = await self._events.add_directed(
                connection, tenant, event, lambda number: (delivery_id(number, webhook_id), webhook_id)
            )
            answer = _shown(await _known(connection, tenant, delivery_id(number, webhook_id)))
            await once.keep(connection, answer, status=202)
        return answer

    async def _example(self, connection: Connection, tenant: str, type: str) -> dict[str, Any]:
        if self._examples is not None:
            return await self._examples.example(connection, tenant, type)
        return {"message": "This is a test delivery."}

    async def recover(self, principal: Principal, webhook_id: str, wanted: RecoveryWanted, once: Once) -> Recovery:
        """Start a recovery; workers carry it on. Raises WebhookNotFound, WebhookDisabled, Invalid."""
        tenant, now = principal.tenant, clock.now()
        until = wanted.until or now
        for name, moment in (("since", wanted.since), ("until", until)):
            if moment.tzinfo is None:
                raise Invalid.field(f"#/{name}", "format", "Give the time with its zone.")
        if wanted.since < now - timedelta(days=RECOVERY_DAYS):
            raise Invalid.field("#/since", "range", f"A recovery reaches back {RECOVERY_DAYS} days at most.")
        if wanted.since >= until:
            raise Invalid.field("#/until", "range", "The end is not after the beginning.")
        async with self._database.tenant(tenant) as connection:
            await once.begin(connection)
            await _enabled(connection, tenant, webhook_id)
            row = await store_recovery.insert(
                connection, tenant, ids.new("rcv"), webhook_id, wanted.since, min(until, now)
            )
            answer = _recovery(row)
            await once.keep(connection, answer, status=202)
            self._events.wake.after(connection)
        return answer

    async def recovery(self, tenant: str, webhook_id: str, recovery_id: str) -> Recovery:
        """How far it is. Raises RecoveryNotFound."""
        async with self._database.tenant(tenant) as connection:
            row = await store_recovery.get(connection, tenant, webhook_id, recovery_id)
        if row is None:
            raise RecoveryNotFound("There is no such recovery.")
        return _recovery(row)


async def _known(connection: Connection, tenant: str, wanted: str) -> Record:
    row = await store_log.get(connection, tenant, wanted) if ids.is_id(wanted, "dlv") else None
    if row is None:
        raise DeliveryNotFound("There is no such delivery.")
    return row


async def _enabled(connection: Connection, tenant: str, webhook_id: str) -> None:
    row = await store.get(connection, tenant, webhook_id) if ids.is_id(webhook_id, "whk") else None
    if row is None:
        raise WebhookNotFound("There is no such endpoint.")
    if row["mode"] == "poll":
        raise WebhookPolled("Nothing is sent to this endpoint: it is polled, and what is kept can be polled again.")
    if not row["enabled"]:
        raise WebhookDisabled("This endpoint is disabled; enable it first.")


def _shown(row: Record) -> Delivery:
    return Delivery(
        id=row["id"],
        webhook_id=row["endpoint_id"],
        event_id=row["event_id"],
        type=row["type"],
        status=row["state"],
        attempts=row["attempts"],
        last_status=row["last_status"],
        last_error=row["last_error"],
        created_at=ids.created_at(row["id"]),
        next_attempt_at=row["due_at"],
        finished_at=row["finished_at"],
    )


def _attempt(row: Record) -> Attempt:
    detail = attempts.unpack(row["detail"])
    return Attempt(
        id=row["id"],
        number=row["number"],
        trigger=detail.trigger,
        at=ids.created_at(row["id"]),
        status=row["status"],
        error=row["error"],
        message=detail.message,
        duration_ms=row["duration_ms"],
        timings=detail.timings,
        request=Request(list(detail.request_headers)),
        response=Response(list(detail.headers), detail.body.decode("utf-8", "replace"), detail.truncated)
        if row["status"] is not None
        else None,
    )


def _recovery(row: Record) -> Recovery:
    return Recovery(
        id=row["id"],
        webhook_id=row["webhook_id"],
        state=row["state"],
        since=row["since"],
        until=row["until"],
        examined=row["examined"],
        requeued=row["requeued"],
        created_at=row["created_at"],
    )
