"""What must hold after any fault, judged offline from three logs: the producer's, the receivers', and the database.

- **Nothing accepted is lost.** Each delivery that was promised arrived (a copy answered 2xx), or is dead with a reason
  that the tenant was told of. What still waits in a queue is backlog, which is something else: `drained` waits for it.
- **Nothing reaches another tenant.** A copy's URL, its event in the database and its data name the same tenant.
- **A copy is a copy.** The same `webhook-id` means the same bytes, those of the database, signed by the endpoint's
  own secret (judged by the `standardwebhooks` package).
- **One operation has one effect**, however often it was tried.
- **No more copies than faults**: an endpoint that answers 2xx gets a second copy only where a process that had it in
  hand died.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from penguin_hub.delivery.matching import covers
from penguin_hub.platform.db import Connection, owner
from penguin_hub.platform.errors import Unavailable
from standardwebhooks import Webhook

from support.producer import Accepted, Endpoint, Tenant
from support.sink import Copy

POLL_SECONDS = 0.25
Key = tuple[str, ...]

# What waits, by name.
_BACKLOG = {
    "deliveries": "SELECT count(*) FROM delivery_queue",
    "emails": "SELECT count(*) FROM email_queue",
    "announced": "SELECT count(*) FROM email_schedule",
    "inbound": "SELECT count(*) FROM inbound_requests WHERE state = 'pending'",
}


@dataclass(frozen=True)
class Event:
    tenant: str
    id: str
    message_id: str
    type: str
    body: bytes

    @cached_property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found


@dataclass(frozen=True)
class Outcome:
    """A delivery that is over."""

    state: str
    attempts: int
    status: int | None
    error: str | None


@dataclass
class Snapshot:
    """The database when nothing is at work any more."""

    events: dict[str, Event] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    """By endpoint and event."""
    queued: set[tuple[str, str]] = field(default_factory=set)
    """(endpoint, event) still to be delivered."""
    emails: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Id -> tenant, status, operation."""
    parked: list[str] = field(default_factory=list)
    """Providers' requests that were given up, with their errors."""

    @cached_property
    def of_emails(self) -> dict[str, dict[str, list[Event]]]:
        """Message -> type -> events."""
        found: dict[str, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
        for event in self.events.values():
            if event.type.startswith("email."):
                found[event.data["email_id"]][event.type].append(event)
        return found


@dataclass
class Report:
    accepted: int = 0
    promised: int = 0
    """Deliveries that follow from what was accepted."""
    delivered: int = 0
    dead: int = 0
    copies: int = 0
    duplicates: int = 0
    """Copies beyond the first of a delivery that the receiver had answered with 2xx."""
    backlog: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.violations and not self.backlog

    def __str__(self) -> str:
        figures = ", ".join(
            f"{name} {getattr(self, name)}"
            for name in ("accepted", "promised", "delivered", "dead", "copies", "duplicates")
        )
        problems = [*(f"BACKLOG {one}" for one in self.backlog), *self.violations]
        return figures + "".join(f"\n  {line}" for line in problems[:40])


class NotDrained(Exception):
    """Work is left, and the time for it is over. The text says how much, and whether it was still getting less."""


async def drained(database_url: str, seconds: float) -> float:
    """Wait until nothing is left to do; returns the seconds it took. Raises NotDrained."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    seen: list[dict[str, int]] = []
    while True:
        try:
            async with owner(database_url) as connection:
                seen.append({name: await connection.fetchval(sql) for name, sql in _BACKLOG.items()})
            if not any(seen[-1].values()):
                return loop.time() - began
        except Unavailable:
            pass
        if loop.time() - began > seconds:
            last = seen[-1] if seen else {}
            before = next((one for one in reversed(seen) if one != last), last)
            moving = "still getting less" if sum(before.values()) > sum(last.values()) else "not moving"
            raise NotDrained(f"after {seconds:.0f} s there are left {last}, {moving} (before: {before})")
        await asyncio.sleep(POLL_SECONDS)


async def snapshot(database_url: str, tenants: Sequence[Tenant]) -> Snapshot:
    """What the database says of these tenants."""
    mine = [tenant.id for tenant in tenants]
    async with owner(database_url) as connection:
        return await _read(connection, mine)


async def _read(connection: Connection, mine: list[str]) -> Snapshot:
    found = Snapshot()
    for row in await connection.fetch(
        "SELECT tenant_id, id, coalesce(message_id, id) AS message_id, type, body FROM events "
        "WHERE tenant_id = ANY($1)",
        mine,
    ):
        found.events[row["id"]] = Event(row["tenant_id"], row["id"], row["message_id"], row["type"], row["body"] or b"")
    for row in await connection.fetch(
        "SELECT endpoint_id, event_id, state, attempts, last_status, last_error FROM deliveries "
        "WHERE tenant_id = ANY($1)",
        mine,
    ):
        found.outcomes[row["endpoint_id"], row["event_id"]] = Outcome(
            row["state"], row["attempts"], row["last_status"], row["last_error"]
        )
    found.queued = {
        (row["endpoint_id"], row["event_id"])
        for row in await connection.fetch(
            "SELECT endpoint_id, event_id FROM delivery_queue WHERE tenant_id = ANY($1)", mine
        )
    }
    for row in await connection.fetch(
        "SELECT tenant_id, id, status, metadata->>'op' AS op FROM emails WHERE tenant_id = ANY($1)", mine
    ):
        found.emails[row["id"]] = (row["tenant_id"], row["status"], row["op"] or "")
    found.parked = [
        f"{row['id']}: {row['error']}"
        for row in await connection.fetch(
            "SELECT id, error FROM inbound_requests WHERE state = 'parked' AND tenant_id = ANY($1)", mine
        )
    ]
    return found


def check(
    tenants: Sequence[Tenant],
    accepted: Sequence[Accepted],
    copies: Sequence[Copy],
    state: Snapshot,
    *,
    tried: Mapping[str, tuple[str, str]] | None = None,
    sent: Mapping[str, int] | None = None,
    faults: int = 0,
) -> Report:
    """Judge. `faults`: how many deaths may each have caused one more copy; `sent`: how often a provider got a message.

    `copies` and `state` may hold more than `accepted` says: an operation may have had its effect although the answer
    was lost.
    """
    report = Report(accepted=len(accepted), copies=len(copies))
    by_tenant = {tenant.id: tenant for tenant in tenants}
    _copies_are_right(report, by_tenant, copies, state)
    taken = _taken(copies)
    told = _told_dead(state)
    for one in accepted:
        for event_id in _promised(report, one, state):
            for endpoint in by_tenant[one.tenant].endpoints.values():
                if any(covers(pattern, state.events[event_id].type) for pattern in endpoint.events):
                    _delivered(report, one, endpoint, state.events[event_id], state, taken, told)
    _received_what_was_noted(report, by_tenant, state, taken)
    _counts(report, by_tenant, copies, sent or {}, faults)
    _one_effect(report, accepted, tried or {}, state)
    report.violations += [f"PARKED {line}" for line in state.parked]
    return report


def _promised(report: Report, one: Accepted, state: Snapshot) -> Iterable[str]:
    """The events that an accepted operation must have led to; what is not there is lost."""
    if one.kind in ("event", "batch"):
        for event_id in one.ids:
            if event_id in state.events and state.events[event_id].tenant == one.tenant:
                yield event_id
            else:
                report.violations.append(f"LOST {one.op}: {event_id} was accepted and is not in the database")
        return
    email = one.ids[0]
    if email not in state.emails:
        report.violations.append(f"LOST {one.op}: {email} was accepted and is not in the database")
        return
    for kind in _expected(state, one):
        if events := state.of_emails[email].get(kind):
            yield from (event.id for event in events)
        else:
            report.violations.append(f"LOST {one.op}: {email} ({state.emails[email][1]}) never led to {kind}")


def _expected(state: Snapshot, one: Accepted) -> tuple[str, ...]:
    """What becomes of a message: the sandbox and the provider's report say that it was delivered."""
    by_sandbox = any(
        event.data.get("plugin") == "sandbox" for events in state.of_emails[one.ids[0]].values() for event in events
    )
    return ("email.sent", "email.delivered") if by_sandbox or one.kind == "inbound" else ("email.sent",)


def _delivered(
    report: Report,
    one: Accepted,
    endpoint: Endpoint,
    event: Event,
    state: Snapshot,
    taken: Mapping[Key, int],
    told: set[tuple[str, str]],
) -> None:
    """One promised delivery: arrived, dead with a reason, waiting, or lost."""
    report.promised += 1
    pair = (endpoint.id, event.id)
    outcome = state.outcomes.get(pair)
    if taken.get((event.tenant, endpoint.name, event.message_id)):
        report.delivered += 1
    elif outcome is not None and outcome.state != "succeeded":
        report.dead += 1
        if outcome.status is None and outcome.error is None:
            report.violations.append(f"NO REASON {one.op}: {pair} is {outcome.state}")
        if outcome.state == "failed" and pair not in told:
            report.violations.append(f"NOT TOLD {one.op}: {pair} failed and the tenant was not told")
        if endpoint.kind != "dead":
            report.violations.append(f"GIVEN UP {one.op}: {pair}, a good endpoint: {outcome}")
    elif pair in state.queued:
        report.backlog.append(f"{one.op}: {pair}")
    else:
        report.violations.append(f"LOST {one.op} ({one.kind}): {event.type} {pair}, outcome {outcome}")


def _told_dead(state: Snapshot) -> set[tuple[str, str]]:
    """(endpoint, event) of which the tenant was told that nobody tries any more; operational events excepted."""
    told = {
        (event.data["endpoint_id"], event.data["event_id"])
        for event in state.events.values()
        if event.type == "message.exhausted"
    }
    operational = {event.id for event in state.events.values() if event.type.startswith(("message.", "endpoint."))}
    return told | {pair for pair in state.outcomes if pair[1] in operational}


def _taken(copies: Iterable[Copy]) -> Counter[Key]:
    """How often an endpoint said 2xx to a message."""
    return Counter((copy.tenant, copy.name, copy.id) for copy in copies if 200 <= copy.status < 300)


def _copies_are_right(report: Report, tenants: Mapping[str, Tenant], copies: Sequence[Copy], state: Snapshot) -> None:
    by_message = {(event.tenant, event.message_id): event for event in state.events.values()}
    elsewhere = {event.message_id: event.tenant for event in state.events.values()}
    verifiers: dict[str, Webhook] = {}
    for copy in copies:
        what = f"{copy.id} at {copy.tenant}/{copy.name}"
        tenant = tenants.get(copy.tenant)
        endpoint = tenant.endpoints.get(copy.name) if tenant else None
        if endpoint is None:
            report.violations.append(f"STRAY {what}")
            continue
        event = by_message.get((copy.tenant, copy.id))
        if event is None:
            word = "WRONG TENANT" if copy.id in elsewhere else "UNKNOWN"
            report.violations.append(f"{word} {what} (its own is {elsewhere.get(copy.id)})")
            continue
        data = copy.event["data"]
        named = data.get("tenant") or data.get("metadata", {}).get("tenant") or copy.tenant
        if named != copy.tenant:
            report.violations.append(f"WRONG TENANT {what}: its data is of {named}")
        if copy.body != event.body:
            report.violations.append(f"OTHER BYTES {what}: {_sum(copy.body)} instead of {_sum(event.body)}")
        if not any(covers(pattern, event.type) for pattern in endpoint.events):
            report.violations.append(f"NOT WANTED {what}: {event.type}")
        verifier = verifiers.setdefault(endpoint.id, Webhook(endpoint.secret))
        if not _is_signed(verifier, copy):
            report.violations.append(f"BAD SIGNATURE {what}")


def _is_signed(verifier: Webhook, copy: Copy) -> bool:
    """By the package's own signing, because its verifying refuses what is five minutes old."""
    moment = datetime.fromtimestamp(int(copy.headers["webhook-timestamp"]), UTC)
    expected = verifier.sign(copy.id, moment, copy.body.decode())
    return any(hmac.compare_digest(expected, one) for one in copy.headers["webhook-signature"].split(" "))


def _sum(body: bytes) -> str:
    return base64.b32encode(hashlib.sha256(body).digest()[:5]).decode()


def _received_what_was_noted(
    report: Report, tenants: Mapping[str, Tenant], state: Snapshot, taken: Mapping[Key, int]
) -> None:
    """The log may not claim a success that the receiver knows nothing of."""
    names = {
        endpoint.id: (tenant.id, endpoint.name) for tenant in tenants.values() for endpoint in tenant.endpoints.values()
    }
    for (endpoint, event), outcome in state.outcomes.items():
        if outcome.state != "succeeded" or endpoint not in names or event not in state.events:
            continue
        if not taken.get((*names[endpoint], state.events[event].message_id)):
            report.violations.append(f"ONLY CLAIMED {endpoint} {event}: noted as delivered and never received")


def _counts(
    report: Report,
    tenants: Mapping[str, Tenant],
    copies: Sequence[Copy],
    sent: Mapping[str, int],
    faults: int,
) -> None:
    tries = Counter((copy.tenant, copy.name, copy.id) for copy in copies)
    for (tenant, name, message), count in _taken(copies).items():
        report.duplicates += count - 1
        if count > 1 + faults:
            report.violations.append(f"TOO MANY {message} at {tenant}/{name}: {count} copies, {faults} faults")
    for (tenant, name, message), count in tries.items():
        kind = tenants[tenant].endpoints[name].kind if tenant in tenants and name in tenants[tenant].endpoints else ""
        retries = 2 if kind in ("dead", "flaky") else 0
        if count > 1 + retries + faults:
            report.violations.append(f"TOO MANY TRIES {message} at {tenant}/{name}: {count}, {faults} faults")
    for email, count in sent.items():
        if count > 1 + faults:
            report.violations.append(f"SENT TOO OFTEN {email}: {count} times, {faults} faults")


def _one_effect(
    report: Report, accepted: Sequence[Accepted], tried: Mapping[str, tuple[str, str]], state: Snapshot
) -> None:
    """However often an operation was tried, and whether or not its answer came back."""
    events: Counter[tuple[str, int]] = Counter()
    for event in state.events.values():
        if event.type == "order.placed":
            events[event.data["op"], event.data["part"]] += 1
    emails = Counter(op for _, _, op in state.emails.values() if op)
    for (op, part), count in events.items():
        if count > 1:
            report.violations.append(f"TWO EFFECTS {op}/{part}: {count} events")
    for op, count in emails.items():
        if count > 1:
            report.violations.append(f"TWO EFFECTS {op}: {count} messages")
    for email, by_type in state.of_emails.items():
        for kind, found in by_type.items():
            if len(found) > 1:
                report.violations.append(f"TWO EFFECTS {email}: {kind} was told {len(found)} times")
    known = {op for op, _ in events} | set(emails)
    if tried:
        for op in known - set(tried):
            report.violations.append(f"OUT OF NOWHERE {op}")
    for one in accepted:
        if one.op not in known:
            report.violations.append(f"NO EFFECT {one.op}")
