"""Polling: a receiver behind a firewall asks for its endpoint's events, and nothing is lost between two questions.

Ids are made before their transaction commits, so a reader who went by ids would pass over an event whose publisher was
slow. This one goes by what is committed: a cursor holds the snapshot of everything that was read (decision 9). Events
come in the order of their transactions' numbers; one that was committed late comes late, and comes.
"""

import asyncio
import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from penguin_hub.delivery import store, store_polling
from penguin_hub.delivery.bell import Ear
from penguin_hub.delivery.errors import CursorExpired, WebhookDisabled, WebhookNotFound, WebhookNotPolled
from penguin_hub.delivery.jobs import RETENTION_DAYS
from penguin_hub.delivery.schemas import Polled
from penguin_hub.http.paging import parameter
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Connection, Database

MAX_WAIT: Final = 20
"""Seconds."""
MAX_BYTES: Final = 4 * 1024 * 1024
"""Of one answer; a single event may be all of it."""
MAX_WAITING: Final = 1000
MAX_WAITING_OF_TENANT: Final = 50
"""In one process. Who comes then is answered at once."""

_SLACK: Final = timedelta(days=1)
"""Longer than any transaction is open, and than any two clocks differ."""
_LOOK_AGAIN_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.02
_LONGEST_SNAPSHOT: Final = 2000


class Position(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a cursor says. Moments are in Unix milliseconds."""

    history: str
    """Whose transaction numbers these are."""
    since: int
    """Nothing with an older id can still come."""
    done: str | None
    """The snapshot of what was read; None at the beginning."""
    open: str | None = None
    """The snapshot that is being read; None when it is read to its end."""
    opened: int = 0
    after: tuple[str, str] = ("0", "")
    """(xid, id) of the last one read in `open`."""


class PollingService:
    """One for the process. `key`: what cursors are sealed with, the same on every node."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._key = key
        self.ear = Ear(database)

    async def poll(
        self, tenant: str, webhook_id: str, *, cursor: str | None = None, limit: int = 100, wait: float = 0
    ) -> Polled:
        """What came after `cursor`, or since the endpoint was made; waits up to `wait` seconds for something to come.

        Raises WebhookNotFound, WebhookNotPolled, WebhookDisabled, BadParameter, CursorExpired.
        """
        seal = hmac.digest(self._key, f"{tenant} {webhook_id}".encode(), hashlib.sha256)
        position = _decode(cursor, seal) if cursor is not None else None
        if wait <= 0 or len(self.ear) >= MAX_WAITING or self.ear.of(tenant) >= MAX_WAITING_OF_TENANT:
            found, position = await self._read(tenant, webhook_id, position, limit)
            return _answer(found, position, seal)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        with self.ear.listening(tenant) as heard:
            while True:
                heard.clear()
                found, position = await self._read(tenant, webhook_id, position, limit)
                left = deadline - loop.time()
                if found or left <= 0 or self.ear.ended:
                    return _answer(found, position, seal)
                # Where other endpoints of the tenant are busy it would be rung without an end.
                await asyncio.sleep(min(_PAUSE_SECONDS, left))
                await _until(heard, min(left, _LOOK_AGAIN_SECONDS))

    async def close(self) -> None:
        await self.ear.close()

    async def _read(
        self, tenant: str, webhook_id: str, position: Position | None, limit: int
    ) -> tuple[list[bytes], Position]:
        """One page, and where the next begins."""
        async with self._database.tenant(tenant) as connection:
            await _polled(connection, tenant, webhook_id)
            snapshot, history = await store_polling.now(connection, tenant)
            at = _placed(position, history)
            opened, reading = (at.opened, at.open) if at.open is not None else (_milliseconds(clock.now()), snapshot)
            rows = await store_polling.page(
                connection,
                tenant,
                webhook_id,
                low=ids.lowest_at("evt", datetime.fromtimestamp(at.since / 1000, UTC)) if at.since else "",
                done=at.done,
                open=_short(reading),
                after=at.after,
                limit=limit + 1,
            )
            wanted = [row["id"] for row in rows[:limit]]
            fitting = _fitting(wanted, await store_polling.sizes(connection, tenant, wanted)) if wanted else 0
            bodies = await store_polling.bodies(connection, tenant, wanted[:fitting]) if fitting else {}
        found = [bodies[one] for one in wanted[:fitting] if one in bodies]
        if fitting < len(rows):
            last = rows[fitting - 1]
            return found, msgspec.structs.replace(
                at, open=_short(reading), opened=opened, after=(last["number"], last["id"])
            )
        since = opened - int(_SLACK.total_seconds() * 1000)
        return found, Position(history=history, since=max(at.since, since), done=_short(reading))


def _placed(position: Position | None, history: str) -> Position:
    """Where to go on. A cursor of another history counts by its time alone: a day is read again."""
    if position is None:
        return Position(history=history, since=0, done=None)
    kept = clock.now() - timedelta(days=RETENTION_DAYS)
    if position.since and position.since + _SLACK.total_seconds() * 1000 < _milliseconds(kept):
        raise CursorExpired(
            f"This cursor is older than the {RETENTION_DAYS} days that events are kept: start again without it."
        )
    if position.history != history:
        return Position(history=history, since=position.since, done=None)
    return position


def _fitting(wanted: list[str], sizes: dict[str, int]) -> int:
    """How many of these make one answer; at least one."""
    total = 0
    for number, one in enumerate(wanted):
        total += sizes.get(one, 0)
        if total > MAX_BYTES and number:
            return number
    return len(wanted)


def _short(snapshot: str) -> str:
    """A snapshot that fits into a cursor. The short form holds less, so something may be read twice, never not."""
    if len(snapshot) <= _LONGEST_SNAPSHOT:
        return snapshot
    low = snapshot.partition(":")[0]
    return f"{low}:{low}:"


async def _polled(connection: Connection, tenant: str, webhook_id: str) -> None:
    row = await store.get(connection, tenant, webhook_id) if ids.is_id(webhook_id, "whk") else None
    if row is None:
        raise WebhookNotFound("There is no such endpoint.")
    if row["mode"] != "poll":
        raise WebhookNotPolled('Events are sent to this endpoint; make one with `"mode": "poll"` to ask for them.')
    if not row["enabled"]:
        raise WebhookDisabled("This endpoint is disabled; enable it first.")


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _answer(found: list[bytes], position: Position, seal: bytes) -> Polled:
    payload = msgspec.json.encode(position)
    cursor = base64.urlsafe_b64encode(hmac.digest(seal, payload, hashlib.sha256)[:12] + payload).decode().rstrip("=")
    return Polled([msgspec.Raw(body) for body in found], cursor, position.open is not None)


def _decode(cursor: str, seal: bytes) -> Position:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        if not hmac.compare_digest(raw[:12], hmac.digest(seal, raw[12:], hashlib.sha256)[:12]):
            raise ValueError("not our seal")
        return msgspec.json.decode(raw[12:], type=Position)
    except (ValueError, msgspec.MsgspecError) as error:
        raise parameter(
            "cursor", "invalid", "The cursor is not one of this endpoint; start again without it"
        ) from error
