"""Endpoints that fail for a whole window are disabled, with warnings on the way; and the counters of their health.

`failing_since` stands in the database, so a restart forgets nothing. One success ends it, and so does a silence longer
than the window: two failures that far apart are not a failing endpoint.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from penguin_hub.delivery import store_health
from penguin_hub.delivery.destinations import Destination
from penguin_hub.delivery.sender import Result, outcome_ok
from penguin_hub.events.schemas import NewEvent
from penguin_hub.platform import clock
from penguin_hub.platform.db import Connection

WINDOW: Final = timedelta(days=5)
WARN_AT: Final = (50, 70, 90, 100)
"""Per cent of the window; each is said once."""

DISABLED: Final = "endpoint.disabled"
WARNING: Final = "endpoint.warning"
EXHAUSTED: Final = "message.exhausted"


class Tally(msgspec.Struct):
    """One endpoint's hour."""

    succeeded: int = 0
    failed: int = 0
    total_ms: int = 0


class Health:
    """One for the worker."""

    def __init__(self, window: timedelta = WINDOW) -> None:
        self._window = window
        # Failures of an endpoint that is known to fail are noted this often, not each time.
        self._note_seconds = min(60.0, window.total_seconds() / 200)
        self._tallies: dict[tuple[str, str, datetime], Tally] = {}

    def count(self, results: Iterable[Result]) -> None:
        """Add attempts to the counters that `flush` writes. A crash loses those of a few seconds."""
        hour = clock.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        for result in results:
            if result.attempt_id is None:
                continue
            tally = self._tallies.setdefault((result.job.tenant, result.job.endpoint, hour), Tally())
            if outcome_ok(result):
                tally.succeeded += 1
            else:
                tally.failed += 1
            tally.total_ms += result.duration_ms

    async def flush(self, connection: Connection) -> None:
        tallies, self._tallies = self._tallies, {}
        try:
            await store_health.add_stats(connection, tallies)
        except BaseException:
            for key, tally in tallies.items():
                kept = self._tallies.setdefault(key, Tally())
                kept.succeeded += tally.succeeded
                kept.failed += tally.failed
                kept.total_ms += tally.total_ms
            raise

    async def note(
        self, connection: Connection, results: Iterable[Result], monotonic: float
    ) -> list[tuple[str, NewEvent]]:
        """What these attempts mean for their endpoints; returns the tenants' operational events."""
        told: list[tuple[str, NewEvent]] = []
        good: dict[str, Destination] = {}
        bad: dict[str, Destination] = {}
        for result in results:
            if result.disable:
                told += await self._disable(connection, result.destination, "gone", None)
            elif result.attempt_id is not None:
                (good if outcome_ok(result) else bad)[result.destination.id] = result.destination
        recovered = [one for one in good.values() if one.failing]
        if recovered:
            await store_health.clear_failing(connection, [(one.tenant, one.id) for one in recovered])
            for one in recovered:
                one.failing, one.failure_noted = False, float("-inf")
        for key, one in bad.items():
            if key not in good and monotonic - one.failure_noted >= self._note_seconds:
                one.failing, one.failure_noted = True, monotonic
                told += await self._failed(connection, one)
        return told

    async def _failed(self, connection: Connection, destination: Destination) -> list[tuple[str, NewEvent]]:
        row = await store_health.note_failure(connection, destination.tenant, destination.id, self._window)
        if row is None:
            return []
        share = int(100 * row["failing"] / self._window)
        reached = max((mark for mark in WARN_AT if share >= mark), default=0)
        if reached <= row["warned"]:
            return []
        if reached == WARN_AT[-1]:
            return await self._disable(connection, destination, "failing", row["failing_since"])
        await store_health.warned(connection, destination.tenant, destination.id, reached)
        since = row["failing_since"]
        return [
            (
                destination.tenant,
                NewEvent(
                    type=WARNING,
                    subject=destination.id,
                    data={
                        "endpoint_id": destination.id,
                        "failing_since": since,
                        "percent": reached,
                        "disabled_at": since + self._window,
                    },
                ),
            )
        ]

    async def _disable(
        self, connection: Connection, destination: Destination, reason: str, since: datetime | None
    ) -> list[tuple[str, NewEvent]]:
        if not await store_health.disable(connection, destination.tenant, destination.id, reason):
            return []
        data = {"endpoint_id": destination.id, "reason": reason, "failing_since": since}
        return [(destination.tenant, NewEvent(type=DISABLED, subject=destination.id, data=data))]


def exhausted(result: Result) -> NewEvent:
    """A delivery that nobody will try again."""
    job = result.job
    return NewEvent(
        type=EXHAUSTED,
        subject=job.endpoint,
        data={
            "delivery_id": job.id,
            "endpoint_id": job.endpoint,
            "event_id": job.event,
            "event_type": job.type,
            "attempts": job.attempt + 1,
            "last_status": result.status,
            "last_error": result.error,
        },
    )
