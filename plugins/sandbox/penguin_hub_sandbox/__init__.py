"""The sandbox: what stands behind test keys. Nothing leaves the machine, and the recipient's address decides the story.

The word before `@` (and before a `+`) names the outcome, whatever the domain; any other word is delivered.
"""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from penguin_hub_sdk import (
    Address,
    Config,
    Context,
    Detail,
    E,
    Manifest,
    Message,
    Plugin,
    ProviderEvent,
    Receipt,
    Refusal,
    errors,
    hookimpl,
)


class Step(msgspec.Struct, frozen=True):
    """One event, `after` seconds from the sending."""

    after: float
    type: E
    detail: Detail = Detail()


_DELIVERED: Final = Step(1, E.DELIVERED)
_BROWSER: Final = Detail(user_agent="Sandbox/1.0", ip="192.0.2.1")

STORIES: Final[dict[str, tuple[Step, ...]]] = {
    "delivered": (_DELIVERED,),
    "opened": (_DELIVERED, Step(2, E.OPENED, _BROWSER)),
    "clicked": (_DELIVERED, Step(2, E.OPENED, _BROWSER), Step(3, E.CLICKED, _BROWSER)),
    "replied": (_DELIVERED, Step(2, E.REPLIED)),
    "complained": (_DELIVERED, Step(2, E.COMPLAINED)),
    "unsubscribed": (_DELIVERED, Step(2, E.UNSUBSCRIBED)),
    "deferred": (
        Step(1, E.DEFERRED, Detail(reason="450 4.2.1 The mailbox is busy", code="4.2.1")),
        Step(3, E.DELIVERED),
    ),
    "bounced": (Step(1, E.BOUNCED, Detail(reason="550 5.1.1 No such user", code="5.1.1", bounce="hard")),),
    "soft-bounce": (Step(1, E.BOUNCED, Detail(reason="552 5.2.2 The mailbox is full", code="5.2.2", bounce="soft")),),
    "blocked": (Step(1, E.BOUNCED, Detail(reason="550 5.7.1 Refused by policy", code="5.7.1", bounce="block")),),
}

# The plain verb says the same, and so does the longer name.
ALIASES: Final = {
    "deliver": "delivered", "open": "opened", "click": "clicked", "reply": "replied", "complain": "complained",
    "unsubscribe": "unsubscribed", "defer": "deferred", "bounce": "bounced", "hard-bounce": "bounced",
    "hard-bounced": "bounced", "soft-bounced": "soft-bounce", "block": "blocked", "refuse": "refused",
    "reject": "rejected",
}  # fmt: skip

# Text and code for a recipient that is not taken while the others are.
REFUSALS: Final = {
    "refused": ("The sandbox refuses this recipient.", "5.1.1"),
    "suppressed": ("The recipient is on the suppression list of the provider that the sandbox plays.", "5.7.1"),
}

# The whole message fails, on every attempt.
FAILURES: Final[dict[str, type[errors.PluginError]]] = {
    "rejected": errors.Rejected,
    "throttled": errors.RateLimited,
    "unavailable": errors.ProviderFailed,
}

LINK: Final = "https://example.com/"
"""What is clicked in a message that has no link."""

_HREF: Final = re.compile(r"""href\s*=\s*["']?(https?://[^"'\s>]+)""", re.IGNORECASE)


class Settings(Config, frozen=True):
    """Nothing to set."""


class Sandbox:
    def __init__(self, ctx: Context[Settings]) -> None:
        """Nothing of the context is needed: there is nobody to talk to."""

    async def check(self) -> None:
        """There is nothing that could be wrong."""

    async def send(self, message: Message) -> Receipt:
        for address in message.recipients:
            failure = FAILURES.get(word(address))
            if failure:
                raise failure(f"{address.email} asks the sandbox to fail.", code=word(address))
        unwanted = [address for address in message.recipients if word(address) in REFUSALS]
        refused = tuple(Refusal(address.email, *REFUSALS[word(address)]) for address in unwanted)
        if refused and len(refused) == len(message.recipients):
            raise errors.Rejected(f"{refused[0].recipient}: {refused[0].detail}", code=refused[0].code)
        return Receipt(f"sandbox-{message.id}", refused, tuple(story(message, datetime.now(UTC))))


def story(message: Message, now: datetime) -> Iterator[ProviderEvent]:
    """What becomes of the message, for each recipient that was taken."""
    for address in message.recipients:
        if word(address) in REFUSALS:
            continue
        for step in STORIES.get(word(address), STORIES["delivered"]):
            detail = msgspec.structs.replace(step.detail, tags=message.tags)
            if step.type is E.CLICKED:
                detail = msgspec.structs.replace(detail, url=link(message))
            yield ProviderEvent(
                type=step.type,
                raw_type=word(address),
                at=now + timedelta(seconds=step.after),
                key=f"{message.id}/{address.email}/{step.type}",
                message=f"sandbox-{message.id}",
                email=message.id,
                recipient=address.email,
                detail=detail,
            )


def word(address: Address) -> str:
    """`bounce+signup@example.com` -> `bounced`."""
    spoken = address.email.partition("@")[0].partition("+")[0].lower()
    return ALIASES.get(spoken, spoken)


def link(message: Message) -> str:
    found = _HREF.search(message.html or "")
    return html.unescape(found.group(1)) if found else LINK


@hookimpl
def hub_plugin() -> Plugin[Settings]:
    return Plugin(manifest=Manifest.load(__package__), config=Settings, connect=Sandbox)
