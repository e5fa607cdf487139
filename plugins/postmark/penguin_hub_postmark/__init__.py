"""Postmark: mail through its HTTP API, and its webhooks."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from penguin_hub_sdk import (
    Address,
    BasicAuth,
    Config,
    Context,
    Manifest,
    Message,
    Plugin,
    Receipt,
    Refusal,
    Response,
    Secret,
    Webhook,
    errors,
    hookimpl,
)

from penguin_hub_postmark import wire
from penguin_hub_postmark.webhook import EMAIL_ID, normalise

API: Final = "https://api.postmarkapp.com"
BATCH_MESSAGES: Final = 500
BATCH_BYTES: Final = 50_000_000
"""Of one `POST /email/batch`, attachments included. Postmark says 50 MB; the smaller meaning of that is safe."""

METADATA_FIELDS, METADATA_NAME, METADATA_VALUE = 10, 20, 80
"""What one message may carry (fields, characters of a name, characters of a value)."""

# https://postmarkapp.com/developer/api/overview#error-codes; any other code refuses this message.
CODES: Final[dict[str, tuple[type[errors.PluginError], str | None]]] = {
    "10": (errors.AuthExpired, "server_token"),
    "100": (errors.ProviderFailed, None),
    "405": (errors.QuotaExceeded, None),
    "412": (errors.NotAllowed, None),
    "413": (errors.NotAllowed, None),
    "429": (errors.RateLimited, None),
    "1226": (errors.ConfigInvalid, "message_stream"),
    "1235": (errors.ConfigInvalid, "message_stream"),
    "1236": (errors.ConfigInvalid, "message_stream"),
}

INACTIVE: Final = "these inactive addresses: "
"""What the text of an accepted message says when some of its recipients are suppressed at Postmark."""


class Settings(Config, frozen=True):
    server_token: Annotated[Secret, Meta(title="Server API token", description="Server > API Tokens in Postmark.")]
    message_stream: Annotated[
        str,
        Meta(
            title="Message stream",
            description="Id of the stream that the mail goes through; marketing needs a broadcast stream.",
            pattern=r"^[a-z0-9][a-z0-9-]{0,29}$",
        ),
    ] = "outbound"
    webhook_username: Annotated[
        str | None, Meta(title="Webhook user name", description="As in the basic auth of the webhook in Postmark.")
    ] = None
    webhook_password: Annotated[Secret | None, Meta(title="Webhook password")] = None

    def __post_init__(self) -> None:
        if bool(self.webhook_username) != bool(self.webhook_password):
            raise ValueError("webhook_username and webhook_password belong together: give both or neither")


class Postmark:
    def __init__(self, ctx: Context[Settings]) -> None:
        self._config = ctx.config
        self._http = ctx.http

    async def check(self) -> None:
        await self._http.get(f"{API}/server", headers=self._headers(), explain=explain)

    async def send(self, message: Message) -> Receipt:
        body = msgspec.json.encode(email(message, self._config.message_stream))
        outcome = receipt((await self._post("/email", body)).json(wire.Answer), message)
        if isinstance(outcome, errors.PluginError):
            raise outcome
        return outcome

    async def send_batch(self, messages: Sequence[Message]) -> Sequence[Receipt | errors.PluginError]:
        """As many calls as the limits ask for. When one fails, so do its messages, and the others have gone out."""
        outcomes: list[Receipt | errors.PluginError] = []
        for group, body in batches(messages, self._config.message_stream):
            try:
                answers = (await self._post("/email/batch", body)).json(list[wire.Answer])
            except errors.PluginError as error:
                if len(group) == len(messages):
                    raise
                outcomes += [error] * len(group)
                continue
            if len(answers) != len(group):
                raise errors.BadAnswer(f"Postmark answered {len(answers)} messages of {len(group)}.")
            outcomes += [receipt(answer, message) for answer, message in zip(answers, group, strict=True)]
        return outcomes

    async def _post(self, path: str, body: bytes) -> Response:
        headers = {"Content-Type": "application/json", **self._headers()}
        try:
            return await self._http.post(f"{API}{path}", content=body, headers=headers, explain=explain)
        except errors.Rejected as error:
            raise failure(error.code, error.detail, status=error.status) from error

    def _headers(self) -> dict[str, str | Secret]:
        return {"Accept": "application/json", "X-Postmark-Server-Token": self._config.server_token}


def email(message: Message, stream: str) -> wire.Email:
    """The message as Postmark takes it. Of several tags the first goes along: Postmark has one."""
    headers = [wire.Header(name, value) for name, value in message.headers.items()]
    # Without X-PM-KeepID Postmark puts its own Message-ID in place of ours.
    headers += [wire.Header("Message-ID", f"<{message.message_id}>"), wire.Header("X-PM-KeepID", "true")]
    return wire.Email(
        sender=message.sender.mailbox,
        to=_mailboxes(message.to) or "",
        cc=_mailboxes(message.cc),
        bcc=_mailboxes(message.bcc),
        reply_to=_mailboxes(message.reply_to),
        subject=message.subject,
        tag=message.tags[0] if message.tags else None,
        html_body=message.html,
        text_body=message.text,
        headers=headers,
        metadata={EMAIL_ID: message.id, **_metadata(message)},
        attachments=[
            wire.Attachment(
                item.filename, item.content, item.content_type, item.content_id and f"cid:{item.content_id}"
            )
            for item in message.attachments
        ],
        message_stream=stream,
    )


def receipt(answer: wire.Answer, message: Message) -> Receipt | errors.PluginError:
    """What one answer means for its message."""
    if answer.error_code:
        return failure(str(answer.error_code), answer.message)
    if not answer.message_id:
        return errors.BadAnswer("Postmark accepted a message without giving its id.")
    _, _, inactive = answer.message.partition(INACTIVE)
    refused = tuple(
        Refusal(address.email, "Postmark has this address as inactive and does not deliver to it.", code="406")
        for address in message.recipients
        if address.email.lower() in _named(inactive)
    )
    return Receipt(answer.message_id, refused)


def failure(code: str | None, text: str, *, status: int | None = None) -> errors.PluginError:
    kind, name = CODES.get(code or "", (errors.Rejected, None))
    return kind(text, code=code, status=status, field=name)


def explain(response: Response) -> tuple[str | None, str | None]:
    """Postmark's own code and sentence."""
    answer = response.json(wire.Answer)
    return str(answer.error_code), answer.message


def batches(messages: Iterable[Message], stream: str) -> Iterator[tuple[list[Message], bytes]]:
    """Groups within Postmark's limits, each with its body. A message that is too large alone goes alone."""
    group: list[Message] = []
    encoded: list[bytes] = []
    size = 0
    for message in messages:
        item = msgspec.json.encode(email(message, stream))
        if group and (len(group) == BATCH_MESSAGES or size + len(item) + 2 > BATCH_BYTES):
            yield group, wire.batch(encoded)
            group, encoded, size = [], [], 0
        group.append(message)
        encoded.append(item)
        size += len(item) + 1  # the comma or bracket
    if group:
        yield group, wire.batch(encoded)


def _mailboxes(addresses: Sequence[Address]) -> str | None:
    return ", ".join(address.mailbox for address in addresses) or None


def _metadata(message: Message) -> dict[str, str]:
    """The tenant's metadata as far as Postmark takes it; all of it comes with the hub's own events anyway."""
    fitting = [
        (name, value)
        for name, value in message.metadata.items()
        if name != EMAIL_ID and len(name) <= METADATA_NAME and len(value) <= METADATA_VALUE
    ]
    return dict(fitting[: METADATA_FIELDS - 1])


def _named(text: str) -> set[str]:
    """The addresses in `a@example.com, b@example.com. Inactive recipients are ones that ...`."""
    return {word.strip(",.").lower() for word in text.split() if "@" in word}


@hookimpl
def hub_plugin() -> Plugin[Settings]:
    sender = BasicAuth(user="webhook_username", password="webhook_password")  # noqa: S106 - the name of a setting
    return Plugin(
        manifest=Manifest.load(__package__),
        config=Settings,
        connect=Postmark,
        webhook=Webhook(verify=sender, normalise=normalise),
    )
