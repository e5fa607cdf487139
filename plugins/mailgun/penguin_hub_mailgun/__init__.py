"""Mailgun: mail through its HTTP API, and its webhooks."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta
from penguin_hub_sdk import (
    Basic,
    Config,
    Context,
    MailgunSignature,
    Manifest,
    Message,
    Part,
    Plugin,
    Receipt,
    Response,
    Secret,
    Webhook,
    errors,
    hookimpl,
)

from penguin_hub_mailgun import wire
from penguin_hub_mailgun.webhook import EMAIL_ID, normalise

API: Final = {"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}


class Settings(Config, frozen=True):
    api_key: Annotated[Secret, Meta(title="API key", description="Settings > API Security in Mailgun.")]
    domain: Annotated[
        str,
        Meta(
            title="Sending domain",
            description="As it stands in Mailgun, such as mg.example.com.",
            pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+$",
            max_length=253,
        ),
    ]
    region: Annotated[Literal["us", "eu"], Meta(title="Region", description="Where the domain is in Mailgun.")] = "us"
    webhook_signing_key: Annotated[
        Secret | None, Meta(title="HTTP webhook signing key", description="Needed to take Mailgun's webhooks.")
    ] = None


class Mailgun:
    def __init__(self, ctx: Context[Settings]) -> None:
        self._config = ctx.config
        self._http = ctx.http

    async def check(self) -> None:
        response = await self._call("GET", f"/v4/domains/{self._config.domain}")
        state = response.json(wire.Domain).domain.state
        if state != "active":
            raise errors.ConfigInvalid(
                f"Mailgun has the domain {self._config.domain} as {state}: finish its set-up there first.",
                field="domain",
            )

    async def send(self, message: Message) -> Receipt:
        response = await self._call(
            "POST", f"/v3/{self._config.domain}/messages", form=form(message), files=files(message)
        )
        return Receipt(response.json(wire.Sent).id.strip("<>"))

    async def _call(self, method: str, path: str, **options: Any) -> Response:
        region = self._config.region
        auth = Basic("api", self._config.api_key)
        try:
            return await self._http.request(method, API[region] + path, auth=auth, explain=explain, **options)
        except errors.Rejected as error:
            if error.status != 404:
                raise
            raise errors.ConfigInvalid(
                f"Mailgun does not know the domain {self._config.domain} in the region {region}.",
                status=404,
                field="domain",
            ) from error


def form(message: Message) -> list[tuple[str, str]]:
    """The message as Mailgun takes it. A field for many values comes many times."""
    fields = [("from", message.sender.mailbox)]
    fields += [("to", address.mailbox) for address in message.to]
    fields += [("cc", address.mailbox) for address in message.cc]
    fields += [("bcc", address.mailbox) for address in message.bcc]
    fields += [("subject", message.subject)]
    fields += [(name, body) for name, body in (("text", message.text), ("html", message.html)) if body is not None]
    fields += [("h:Message-Id", f"<{message.message_id}>")]
    if message.reply_to:
        fields += [("h:Reply-To", ", ".join(address.mailbox for address in message.reply_to))]
    fields += [(f"h:{name}", value) for name, value in message.headers.items()]
    fields += [("o:tag", tag) for tag in message.tags]
    fields += [(f"v:{name}", value) for name, value in message.metadata.items() if name != EMAIL_ID]
    return [*fields, (f"v:{EMAIL_ID}", message.id)]


def files(message: Message) -> list[Part]:
    """An inline part is shown by its file name: Mailgun makes the Content-ID of it."""
    return [
        Part("inline", item.content_id, item.content_type, item.content)
        if item.content_id
        else Part("attachment", item.filename, item.content_type, item.content)
        for item in message.attachments
    ]


def explain(response: Response) -> tuple[str | None, str | None]:
    """Mailgun's own sentence; it has no codes."""
    return None, response.json(wire.Failure).message


@hookimpl
def hub_plugin() -> Plugin[Settings]:
    # The signature covers a token and not the event, so each token is taken once.
    signature = MailgunSignature(secret="webhook_signing_key")  # noqa: S106 - the name of a setting
    return Plugin(
        manifest=Manifest.load(__package__),
        config=Settings,
        connect=Mailgun,
        webhook=Webhook(verify=signature, normalise=normalise, key=signature.replay_key),
    )
