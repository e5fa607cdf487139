"""From a claimed message to the connector and back: who is written to in this attempt, and what came of it."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import structlog
from penguin_hub_sdk.connectors import Address, BatchEmailProvider, Connector, EmailProvider, Message, Receipt
from penguin_hub_sdk.errors import ConfigInvalid, PluginError, ProviderFailed

from penguin_hub.emails.outcome import Attempt
from penguin_hub.emails.retry import MAX_ATTEMPTS
from penguin_hub.emails.store_queue import Claim, Loaded, Pending
from penguin_hub.emails.suppressions.service import Standing

log = structlog.get_logger(__name__)

Result = Receipt | PluginError


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One claimed message, ready to be handed over."""

    claim: Claim
    message: Message | None
    """None: nobody is left to write to."""
    tried: list[Pending]
    left: list[Pending]
    withheld: list[tuple[Pending, str]]

    def attempt(self, result: Result | None) -> Attempt:
        return Attempt(
            claim=self.claim,
            tried=self.tried,
            left=self.left,
            withheld=self.withheld,
            receipt=result if isinstance(result, Receipt) else None,
            error=result if isinstance(result, PluginError) else None,
        )


def item(claim: Claim, loaded: Loaded | None, standing: Standing) -> Item:
    """Suppressions are looked at once more: one may have come since the message was accepted.

    A message that was deleted while it waited (`loaded` is None) is for nobody.
    """
    if loaded is None:
        return Item(claim=claim, message=None, tried=[], left=[], withheld=[])
    withheld = [
        (person, reason)
        for person in loaded.pending
        if (reason := standing.reason(person.key, test=loaded.test, stream=loaded.stream))
    ]
    gone = {person.position for person, _ in withheld}
    tried, left = portion([person for person in loaded.pending if person.position not in gone])
    return Item(claim=claim, message=_message(loaded, tried), tried=tried, left=left, withheld=withheld)


def portion(pending: Sequence[Pending]) -> tuple[list[Pending], list[Pending]]:
    """Who is written to now, and who after that.

    As a rule everybody, now. But where nobody visible is left, blind copies go out one by one: a provider wants
    somebody in `To`, and one blind recipient must not be shown to another.
    """
    if any(person.kind != "bcc" for person in pending):
        return list(pending), []
    return list(pending[:1]), list(pending[1:])


def _message(loaded: Loaded, tried: Sequence[Pending]) -> Message | None:
    if not tried:
        return None
    by_kind: dict[str, list[Address]] = {"to": [], "cc": [], "bcc": []}
    for person in tried:
        by_kind[person.kind].append(Address(person.email, person.name))
    to, cc, bcc = by_kind["to"], by_kind["cc"], by_kind["bcc"]
    if not to:
        # The visible ones were all taken out, or are done: whoever is next in sight becomes the addressee.
        to, cc, bcc = (cc, [], bcc) if cc else (bcc, [], [])
    content = loaded.content
    return Message(
        id=loaded.id,
        message_id=loaded.message_id,
        sender=content.sender,
        to=tuple(to),
        cc=tuple(cc),
        bcc=tuple(bcc),
        reply_to=content.reply_to,
        subject=content.subject,
        html=content.html,
        text=content.text,
        headers=content.headers,
        attachments=content.attachments,
        tags=tuple(loaded.tags),
        metadata=loaded.metadata,
        stream=loaded.stream,
    )


_WORN_OUT: Final = "Sending was begun too often and never ended; the message may be what breaks it."


async def send(connector: Connector | PluginError, items: Sequence[Item]) -> list[Result | None]:
    """One result for each item, in order; None for those with nobody left to write to."""
    results: dict[str, Result] = {}
    ready: list[tuple[str, Message]] = []
    for one in items:
        if one.message is None:
            continue
        if one.claim.attempt > MAX_ATTEMPTS:
            # Only a worker that died each time can bring the number up here.
            results[one.claim.email_id] = ConfigInvalid(_WORN_OUT, code="worn_out")
        else:
            ready.append((one.claim.email_id, one.message))
    outcomes = await _hand_over(connector, [message for _, message in ready]) if ready else []
    results.update(zip((email_id for email_id, _ in ready), outcomes, strict=True))
    return [results.get(one.claim.email_id) for one in items]


async def _hand_over(connector: Connector | PluginError, messages: Sequence[Message]) -> Sequence[Result]:
    try:
        match connector:
            case PluginError():
                return [connector] * len(messages)
            case BatchEmailProvider() if len(messages) > 1:
                return await connector.send_batch(messages)
            case EmailProvider():
                # A parcel of several is made for batch providers only.
                return [await connector.send(message) for message in messages]
    except PluginError as error:
        return [error] * len(messages)
    except Exception as error:
        log.exception("sending_crashed", messages=len(messages), exc_info=error)
        return [ProviderFailed("The hub itself failed while sending.", code="internal_error")] * len(messages)
    refusal = ConfigInvalid("The connection's plugin does not send mail.", code="not_an_email_provider")
    return [refusal] * len(messages)


def groups(claims: Sequence[Claim], limit: int) -> Iterator[list[Claim]]:
    """The claims in groups of at most `limit` stored bytes; one that is larger goes alone."""
    group: list[Claim] = []
    size = 0
    for claim in claims:
        if group and size + claim.size > limit:
            yield group
            group, size = [], 0
        group.append(claim)
        size += claim.size
    if group:
        yield group
