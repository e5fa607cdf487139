"""What follows from one attempt to hand a message to a provider. Pure: the message's state in, the changes out."""

import re
from datetime import datetime
from typing import Final, TypeAlias

import msgspec
from penguin_hub_sdk.connectors import Receipt
from penguin_hub_sdk.errors import PluginError
from penguin_hub_sdk.events import BounceKind, Detail, E

from penguin_hub.emails import retry
from penguin_hub.emails.schemas import Status
from penguin_hub.emails.store_queue import Claim, Pending
from penguin_hub.emails.timeline import STATUS, Person, Tracked, overall

_NO_SUCH_MAILBOX: Final = re.compile(r"5\.1\.(1|2|3|6|10)\b")
"""Enhanced codes (RFC 3463, RFC 7505) that speak of the address itself. Others, such as 5.7.1, speak of the message."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What was done with one claim, and what came of it."""

    claim: Claim
    tried: list[Pending] = []
    """Recipients of this attempt."""
    left: list[Pending] = []
    """Recipients whose turn comes after this attempt."""
    withheld: list[tuple[Pending, str]] = []
    """Recipients who were suppressed after the message was accepted, with the reason."""
    receipt: Receipt | None = None
    error: PluginError | None = None
    """Neither: there was nobody left to write to."""


class Line(msgspec.Struct, frozen=True):
    """Something for the timeline; `told` to the tenant's webhooks as well."""

    key: str
    type: E
    recipient: str | None
    detail: Detail
    told: bool


Again: TypeAlias = tuple[datetime, int]
"""When to try again, and how many attempts count as made by then."""


def judge(email: Tracked, attempt: Attempt, now: datetime) -> tuple[list[Line], Again | None]:
    """Move the recipients of `email`; returns what to tell, and when to try again (None: the message is done with)."""
    verdict = _Verdict(email, attempt, now)
    for pending, reason in attempt.withheld:
        verdict.say(E.FAILED, pending, Detail(reason="suppressed", code=reason), status="suppressed")
    if attempt.receipt is not None:
        verdict.accepted(attempt.receipt)
    elif attempt.error is not None:
        verdict.refused(attempt.error)
    email.status = overall((person.status for person in email.people), email.status)
    return verdict.lines, verdict.again()


def sent_key(position: int) -> str:
    """A recipient's message is sent once, however many attempts or reports say so."""
    return f"{E.SENT}:{position}"


def bounce_kind(code: str | None) -> BounceKind:
    """What an enhanced status code says about a refusal for good."""
    if code and _NO_SUCH_MAILBOX.match(code):
        return "hard"
    return "block" if code and code.startswith("5.7.") else "undetermined"


class _Verdict:
    def __init__(self, email: Tracked, attempt: Attempt, now: datetime) -> None:
        self.lines: list[Line] = []
        self._attempt = attempt
        self._number = attempt.claim.attempt
        self._now = now
        self._people: dict[int, Person] = {person.position: person for person in email.people}
        self._retry: datetime | None = None

    def say(self, kind: E, pending: Pending, detail: Detail, *, status: Status | None) -> None:
        """One recipient's fate; `status` None leaves the recipient waiting."""
        if status is not None:
            self._people[pending.position].move(status)
        key = sent_key(pending.position) if kind is E.SENT else f"{kind}:{self._number}:{pending.position}"
        self.lines.append(Line(key, kind, pending.email, detail, status is not None))

    def accepted(self, receipt: Receipt) -> None:
        refusals = {refusal.recipient: refusal for refusal in receipt.refused}
        for pending in self._attempt.tried:
            refusal = refusals.get(pending.email)
            if refusal is None:
                self.say(E.SENT, pending, Detail(), status="sent")
                continue
            detail = Detail(reason=refusal.detail, code=refusal.code)
            if not refusal.permanent and (when := retry.next_attempt(self._now, self._number)):
                self._retry = when
                self.say(E.DEFERRED, pending, detail, status=None)
                continue
            kind: BounceKind = bounce_kind(refusal.code) if refusal.permanent else "soft"
            self.say(E.BOUNCED, pending, msgspec.structs.replace(detail, bounce=kind), status="bounced")

    def refused(self, error: PluginError) -> None:
        tried = self._attempt.tried
        detail = Detail(reason=error.detail, code=error.code or error.effect.kind)
        if error.effect.retryable and (when := retry.next_attempt(self._now, self._number, error)):
            self._retry = when
            self.lines.append(Line(f"{E.DEFERRED}:{self._number}", E.DEFERRED, None, detail, False))
            return
        # A server that refuses the only recipient for the address's own sake: the same as a refusal in a receipt.
        alone = len(tried) == 1 and bounce_kind(error.code) == "hard"
        kind = E.BOUNCED if alone else E.FAILED
        for pending in tried:
            self.say(
                kind, pending, msgspec.structs.replace(detail, bounce="hard" if alone else None), status=STATUS[kind]
            )

    def again(self) -> Again | None:
        if self._retry is not None:
            return self._retry, self._number
        # Whoever is left has not been tried: their attempts begin at one.
        return (self._now, 0) if self._attempt.left else None
