"""The checker is only worth something when it sees what is wrong: each rule is broken once."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook
from support.checker import Event, Outcome, Report, Snapshot, check
from support.producer import Accepted, Endpoint, Tenant
from support.sink import Copy

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"


@dataclass
class Town:
    """Two tenants with a good and a dead endpoint each; one event of the first, delivered and given up."""

    tenants: list[Tenant]
    accepted: list[Accepted]
    copies: list[Copy]
    state: Snapshot
    faults: int = 0

    def judged(self) -> Report:
        tried = {one.op: ("event", one.tenant) for one in self.accepted}
        return check(self.tenants, self.accepted, self.copies, self.state, tried=tried, faults=self.faults)


def copy(event: Event, tenant: str, name: str, status: int, *, secret: str = SECRET, body: bytes | None = None) -> Copy:
    sent = body or event.body
    now = datetime(2026, 11, 20, tzinfo=UTC)
    headers = {
        "webhook-id": event.message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(event.message_id, now, sent.decode()),
    }
    return Copy(0.0, "ok", tenant, name, headers, sent, status)


def event(number: str, kind: str, data: dict[str, object], tenant: str = "ten_a") -> Event:
    body = {"id": number, "type": kind, "timestamp": "", "workspace": None, "data": data}
    return Event(tenant, number, number, kind, json.dumps(body).encode())


PLACED = event("evt_1", "order.placed", {"op": "1", "part": 0, "tenant": "ten_a"})
EXHAUSTED = event("evt_2", "message.exhausted", {"endpoint_id": "whk_a_dead", "event_id": "evt_1"})


def town() -> Town:
    tenants = [
        Tenant(
            tenant,
            "",
            "",
            {name: Endpoint(name, f"whk_{tenant[-1]}_{name}", name, ("order.*",), SECRET) for name in ("ok", "dead")},
        )
        for tenant in ("ten_a", "ten_b")
    ]
    state = Snapshot(
        events={one.id: one for one in (PLACED, EXHAUSTED)},
        outcomes={
            ("whk_a_ok", "evt_1"): Outcome("succeeded", 1, 200, None),
            ("whk_a_dead", "evt_1"): Outcome("failed", 3, 500, "status"),
        },
    )
    copies = [copy(PLACED, "ten_a", "ok", 200)] + [copy(PLACED, "ten_a", "dead", 500) for _ in range(3)]
    return Town(tenants, [Accepted("1", "event", "ten_a", ("evt_1",))], copies, state)


def test_what_is_right_is_clean() -> None:
    report = town().judged()
    assert report.is_clean, str(report)
    assert (report.promised, report.delivered, report.dead, report.duplicates) == (2, 1, 1, 0)


def test_a_second_copy_is_excused_by_a_fault_and_counted() -> None:
    broken = town()
    broken.copies.append(broken.copies[0])
    broken.faults = 1
    assert broken.judged().is_clean
    assert broken.judged().duplicates == 1


def test_what_still_waits_is_backlog_and_no_loss() -> None:
    broken = town()
    broken.copies.pop(0)
    del broken.state.outcomes["whk_a_ok", "evt_1"]
    broken.state.queued.add(("whk_a_ok", "evt_1"))
    report = broken.judged()
    assert report.backlog
    assert not report.violations
    assert not report.is_clean


def _lose_copy(broken: Town) -> None:
    broken.copies.pop(0)
    del broken.state.outcomes["whk_a_ok", "evt_1"]


def _lose_event(broken: Town) -> None:
    broken.accepted.append(Accepted("2", "event", "ten_a", ("evt_9",)))


def _lose_message(broken: Town) -> None:
    broken.accepted.append(Accepted("2", "email", "ten_a", ("eml_9",)))


def _forget_email_event(broken: Town) -> None:
    broken.accepted.append(Accepted("2", "email", "ten_a", ("eml_1",)))
    broken.state.emails["eml_1"] = ("ten_a", "sent", "2")


def _claim_only(broken: Town) -> None:
    broken.copies.pop(0)


def _no_reason(broken: Town) -> None:
    broken.state.outcomes["whk_a_dead", "evt_1"] = Outcome("failed", 3, None, None)


def _not_told(broken: Town) -> None:
    del broken.state.events["evt_2"]


def _give_up_good(broken: Town) -> None:
    broken.copies.pop(0)
    broken.state.outcomes["whk_a_ok", "evt_1"] = Outcome("failed", 3, 500, "status")


def _other_tenant(broken: Town) -> None:
    broken.copies.append(copy(PLACED, "ten_b", "ok", 200))


def _other_tenants_data(broken: Town) -> None:
    foreign = event("evt_3", "order.placed", {"op": "3", "part": 0, "tenant": "ten_b"})
    broken.state.events["evt_3"] = foreign
    broken.copies.append(copy(foreign, "ten_a", "ok", 200))


def _other_bytes(broken: Town) -> None:
    broken.copies[0] = copy(PLACED, "ten_a", "ok", 200, body=PLACED.body.replace(b": ", b":"))


def _bad_signature(broken: Town) -> None:
    broken.copies[0] = copy(PLACED, "ten_a", "ok", 200, secret=OTHER_SECRET)


def _too_many(broken: Town) -> None:
    broken.copies.append(broken.copies[0])


def _unknown(broken: Town) -> None:
    broken.copies.append(copy(event("evt_8", "order.placed", {}), "ten_a", "ok", 200))


def _not_wanted(broken: Town) -> None:
    broken.copies.append(copy(EXHAUSTED, "ten_a", "ok", 200))


def _stray(broken: Town) -> None:
    broken.copies.append(dataclasses.replace(broken.copies[0], name="elsewhere"))


def _twice(broken: Town) -> None:
    again = dataclasses.replace(PLACED, id="evt_4", message_id="evt_4")
    broken.state.events["evt_4"] = again


def _parked(broken: Town) -> None:
    broken.state.parked.append("inb_1: given up")


BROKEN: dict[str, Callable[[Town], None]] = {
    "LOST 1 ": _lose_copy,
    "LOST 2: evt_9": _lose_event,
    "LOST 2: eml_9": _lose_message,
    "LOST 2: eml_1": _forget_email_event,
    "ONLY CLAIMED": _claim_only,
    "NO REASON": _no_reason,
    "NOT TOLD": _not_told,
    "GIVEN UP": _give_up_good,
    "WRONG TENANT evt_1 at ten_b/ok (": _other_tenant,
    "WRONG TENANT evt_3 at ten_a/ok:": _other_tenants_data,
    "OTHER BYTES": _other_bytes,
    "BAD SIGNATURE": _bad_signature,
    "TOO MANY ": _too_many,
    "UNKNOWN": _unknown,
    "NOT WANTED": _not_wanted,
    "STRAY": _stray,
    "TWO EFFECTS": _twice,
    "PARKED": _parked,
}


@pytest.mark.parametrize("word", BROKEN)
def test_what_is_wrong_is_seen(word: str) -> None:
    broken = town()
    BROKEN[word](broken)
    report = broken.judged()
    assert any(line.startswith(word) for line in report.violations), str(report)
