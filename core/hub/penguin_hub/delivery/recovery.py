"""Carries recoveries on: what an endpoint failed to take, or missed, is queued again, once.

A page of events, its new deliveries and the place that was reached are one transaction, so a recovery that is
interrupted anywhere goes on from there, in whatever worker.
"""

from typing import Any

import msgspec

from penguin_hub.delivery import store_log, store_order, store_recovery
from penguin_hub.delivery.matching import Filter, Subject, Subscription, matches
from penguin_hub.delivery.naming import delivery_id
from penguin_hub.platform.db import Database, Record

_PAGE = 500


async def carry_on(database: Database) -> bool:
    """One page of one recovery; False when there was none to do. Raises DatabaseUnavailable."""
    async with database.system() as connection:
        row = await store_recovery.take(connection)
        if row is None:
            return False
        if not row["active"]:
            await store_recovery.advance(
                connection, row, reached=row["reached"], examined=0, requeued=0, state="cancelled"
            )
            return True
        tenant, webhook = row["tenant_id"], row["webhook_id"]
        events = await store_recovery.events(connection, tenant, row["reached"], row["since"], row["until"], _PAGE)
        # An expunged payload cannot be sent again.
        named = {delivery_id(event["id"], webhook): event for event in events if event["body"] is not None}
        known = await store_recovery.known(connection, tenant, list(named))
        again = [name for name, state in known.items() if state in ("failed", "discarded")]
        wanted = Subscription(webhook, tuple(row["events"]), msgspec.convert(row["filter"], Filter))
        missed = [
            (name, event["id"], event["type"])
            for name, event in named.items()
            if name not in known and matches(wanted, _subject(event))
        ]
        requeued = len(await store_log.requeue(connection, tenant, again)) if again else 0
        requeued += await store_log.enqueue(connection, tenant, webhook, missed, lane=2)
        if row["ordered"]:
            await store_order.arrange(connection, tenant, again + [name for name, _, _ in missed])
        await store_recovery.advance(
            connection,
            row,
            reached=events[-1]["id"] if events else row["reached"],
            examined=len(events),
            requeued=requeued,
            state="running" if len(events) == _PAGE else "done",
        )
    return True


def _subject(event: Record) -> Subject:
    def data() -> Any:
        return msgspec.json.decode(event["body"]).get("data", {})

    return Subject(
        type=event["type"], workspace=event["workspace_id"], tags=event["tags"], test=event["test"], data=data
    )
