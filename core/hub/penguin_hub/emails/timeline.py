"""How far a message has come: pure rules over its recipients' states and what is reported about them.

Reports arrive late, twice and out of order. A recipient's state therefore only moves forward in `FORWARD`, and the
message's own is the best that any recipient reached in `OVERALL`.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from penguin_hub_sdk.events import Detail, E

from penguin_hub.emails.schemas import Payload, Status
from penguin_hub.emails.suppressions.schemas import Reason, Scope

FORWARD: Final[tuple[Status, ...]] = (
    "queued", "sent", "deferred", "failed", "suppressed", "delivered", "bounced", "opened", "clicked", "replied",
    "unsubscribed", "complained",
)  # fmt: skip
"""`delivered` after `opened` came late and changes nothing; `bounced` after `delivered` came back by mail."""

OVERALL: Final[tuple[Status, ...]] = (
    "suppressed", "failed", "bounced", "queued", "sent", "deferred", "delivered", "opened", "clicked", "replied",
    "unsubscribed", "complained",
)  # fmt: skip
"""A message that reached anybody is not a failed one; who did not get it shows in the recipients."""

STATUS: Final[Mapping[E, Status]] = {
    E.SENT: "sent",
    E.DEFERRED: "deferred",
    E.DELIVERED: "delivered",
    E.BOUNCED: "bounced",
    E.FAILED: "failed",
    E.OPENED: "opened",
    E.CLICKED: "clicked",
    E.REPLIED: "replied",
    E.COMPLAINED: "complained",
    E.UNSUBSCRIBED: "unsubscribed",
}

TOLD: Final = frozenset(STATUS) - {E.SENT, E.DEFERRED}
"""What a provider's report tells the tenant's webhooks. `email.sent` is told by our own receipt, once."""

LEFT: Final = TOLD - {E.FAILED}
"""Reports that can only be about a message which the provider had taken."""

SUPPRESSES: Final[Mapping[E, tuple[Reason, Scope]]] = {
    E.BOUNCED: ("hard_bounce", "all"),
    E.COMPLAINED: ("complaint", "all"),
    E.UNSUBSCRIBED: ("unsubscribe", "marketing"),
}
"""Event -> reason and stream of the suppression; of bounces only the hard ones."""

_REACHED = frozenset(OVERALL[OVERALL.index("delivered") :])
_FORWARD = {status: rank for rank, status in enumerate(FORWARD)}
_OVERALL = {status: rank for rank, status in enumerate(OVERALL)}


class Person(msgspec.Struct):
    """One recipient's state while a transaction works on it."""

    position: int
    email: str
    key: str
    status: Status

    def move(self, status: Status) -> bool:
        """Forward only. Whether it moved."""
        if _FORWARD[status] <= _FORWARD[self.status]:
            return False
        self.status = status
        return True


class Tracked(msgspec.Struct):
    """One message's state while a transaction works on it (its row is locked)."""

    id: str
    workspace: str
    connection: str
    plugin: str | None
    status: Status
    test: bool
    message_id: str
    subject: str
    tags: list[str]
    metadata: dict[str, str]
    people: list[Person] = []

    def person(self, key: str | None) -> Person | None:
        """Whom a report is about. Providers rewrite addresses, so of one recipient there is no doubt."""
        if len(self.people) == 1:
            return self.people[0]
        return next((person for person in self.people if person.key == key), None)

    def apply(self, kind: E, person: Person | None) -> None:
        """What `kind` makes of the message and of one person (None: the report names nobody we know)."""
        status = STATUS.get(kind)
        if status is None:
            return
        if person is not None:
            person.move(status)
            self.status = overall((p.status for p in self.people), self.status)
        elif _OVERALL[status] > _OVERALL[self.status]:
            self.status = status

    def payload(self, recipient: str | None, detail: Detail) -> Payload:
        """`data` of the event that the tenant's webhooks get."""
        said = msgspec.to_builtins(detail)
        said.pop("tags", None)
        return {
            "email_id": self.id,
            "message_id": self.message_id,
            "recipient": recipient,
            "subject": self.subject,
            "tags": self.tags,
            "metadata": self.metadata,
            "connection": self.connection,
            "plugin": self.plugin,
            **said,
        }


def overall(people: Iterable[Status], current: Status = "queued") -> Status:
    """The message's status by its recipients'. What was once reached by somebody unnamed stays reached."""
    best = max(people, key=_OVERALL.__getitem__)
    return current if current in _REACHED and _OVERALL[current] > _OVERALL[best] else best


def suppression(kind: E, detail: Detail) -> tuple[Reason, Scope] | None:
    """(reason, stream) of the suppression that follows from an event; None when none does."""
    if kind is E.BOUNCED and detail.bounce != "hard":
        return None
    return SUPPRESSES.get(kind)
