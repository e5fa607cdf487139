"""Turns events into deliveries: the events feature's Router."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from penguin_hub.delivery import store_polling
from penguin_hub.delivery.bell import Bell
from penguin_hub.delivery.matching import Subject, matches
from penguin_hub.delivery.naming import delivery_id
from penguin_hub.delivery.subscriptions import Subscriptions
from penguin_hub.events.service import Routed
from penguin_hub.platform.db import Connection


class DeliveryRouter:
    """One for the process. `bell` tells those who wait in a poll; without it they look by themselves."""

    def __init__(self, bell: Bell | None = None) -> None:
        self._subscriptions = Subscriptions()
        self._bell = bell

    async def route(
        self, connection: Connection, tenant: str, events: Sequence[Routed]
    ) -> list[tuple[str, str, str, str, str | None]]:
        subscriptions = await self._subscriptions.of(connection, tenant)
        if not subscriptions:
            return []
        pushed: list[tuple[str, str, str, str, str | None]] = []
        polled: list[tuple[str, str]] = []
        for event in events:
            subject = subject_of(event)
            for one in subscriptions:
                if not matches(one, subject):
                    continue
                if one.polled:
                    polled.append((one.endpoint, event.id))
                else:
                    key = event.subject if one.ordered else None
                    pushed.append((delivery_id(event.id, one.endpoint), one.endpoint, event.id, event.type, key))
        if polled:
            await store_polling.append(connection, tenant, polled)
            if self._bell is not None:
                self._bell.after(connection, tenant)
        return pushed


def subject_of(event: Routed) -> Subject:
    """The sides of an event that endpoints choose by; its data is parsed once, if at all."""

    @cache
    def data() -> Mapping[str, Any]:
        raw = event.data
        found = msgspec.json.decode(raw) if isinstance(raw, msgspec.Raw) else raw
        return found if isinstance(found, Mapping) else {}

    return Subject(type=event.type, workspace=event.workspace, tags=event.tags, test=event.test, data=data)
