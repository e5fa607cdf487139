"""Slack: chosen events as messages in a channel, and Slack's own requests verified."""

import re
import uuid
from typing import Annotated, Any, Final

from msgspec import Meta
from penguin_hub_sdk import (
    Bearer,
    Config,
    Context,
    Event,
    Hmac,
    Manifest,
    Plugin,
    Response,
    Secret,
    Webhook,
    errors,
    hookimpl,
)
from penguin_hub_sdk.verifiers import BODY, TIMESTAMP

from penguin_hub_slack import text, wire
from penguin_hub_slack.webhook import answer, event_id, normalise

API: Final = "https://slack.com/api/"

# Slack's word -> what it means (https://docs.slack.dev/reference/methods/chat.postMessage#errors), and the setting at
# fault. A word that is not here means that this one message is refused.
ERRORS: Final[dict[str, tuple[type[errors.PluginError], str | None]]] = {
    "not_authed": (errors.AuthExpired, "bot_token"),
    "invalid_auth": (errors.AuthExpired, "bot_token"),
    "token_revoked": (errors.AuthExpired, "bot_token"),
    "token_expired": (errors.AuthExpired, "bot_token"),
    "account_inactive": (errors.AuthExpired, "bot_token"),
    "org_login_required": (errors.AuthExpired, "bot_token"),
    "channel_not_found": (errors.ConfigInvalid, "channel"),
    "not_in_channel": (errors.ConfigInvalid, "channel"),
    "is_archived": (errors.ConfigInvalid, "channel"),
    "missing_scope": (errors.NotAllowed, None),
    "no_permission": (errors.NotAllowed, None),
    "access_denied": (errors.NotAllowed, None),
    "not_allowed_token_type": (errors.NotAllowed, "bot_token"),
    "restricted_action": (errors.NotAllowed, None),
    "restricted_action_read_only_channel": (errors.NotAllowed, "channel"),
    "restricted_action_non_threadable_channel": (errors.NotAllowed, "channel"),
    "restricted_action_thread_only_channel": (errors.NotAllowed, "channel"),
    "ekm_access_denied": (errors.NotAllowed, None),
    "team_access_not_granted": (errors.NotAllowed, None),
    "two_factor_setup_required": (errors.NotAllowed, None),
    "ratelimited": (errors.RateLimited, None),
    "rate_limited": (errors.RateLimited, None),
    "message_limit_exceeded": (errors.QuotaExceeded, None),
    "team_added_to_org": (errors.ProviderFailed, None),
    "request_timeout": (errors.ProviderFailed, None),
    "fatal_error": (errors.ProviderFailed, None),
    "internal_error": (errors.ProviderFailed, None),
    "service_unavailable": (errors.ProviderFailed, None),
    "duplicate_message_not_found": (errors.ProviderFailed, None),
}

SENTENCES: Final = {
    "not_in_channel": "Invite the app into the channel first.",
    "channel_not_found": "There is no such channel, or the app has not been invited into it.",
    "is_archived": "The channel is archived.",
}

NAMESPACE: Final = uuid.UUID("3f0c7f0e-5a3b-4e0b-9a55-6f5f0d7f2a11")
"""Of the ids that Slack knows a repeated message by."""


CHANNEL_ID: Final = re.compile(r"[CDG][A-Z0-9]{6,20}")


class Settings(Config, frozen=True):
    bot_token: Annotated[Secret, Meta(title="Bot token", description="xoxb-..., of an app with the scope chat:write.")]
    channel: Annotated[
        str,
        Meta(title="Channel", description="Its id, such as C0123456789 (or its #name).", min_length=1, max_length=80),
    ]
    signing_secret: Annotated[
        Secret | None, Meta(title="Signing secret", description="Needed to take requests of Slack.")
    ] = None


class Slack:
    def __init__(self, ctx: Context[Settings]) -> None:
        self._config = ctx.config
        self._http = ctx.http

    async def check(self) -> None:
        """The token, and the channel as far as the token may look at it."""
        await self._call("auth.test")
        if not CHANNEL_ID.fullmatch(self._config.channel):
            return  # a #name, which only chat.postMessage takes
        try:
            response = await self._call("conversations.info", params={"channel": self._config.channel})
        except (errors.NotAllowed, errors.Rejected):
            return  # the token may post there without being allowed to look
        found = response.json(wire.ChannelInfo).channel
        if found and found.is_archived:
            raise failure("is_archived", None)

    async def deliver(self, event: Event) -> None:
        """A repeated event becomes no second message: Slack knows it by client_msg_id."""
        message = {
            "channel": self._config.channel,
            **text.message(event),
            "client_msg_id": str(uuid.uuid5(NAMESPACE, event.id)),
            "unfurl_links": False,
            "unfurl_media": False,
        }
        await self._call("chat.postMessage", message)

    async def _call(
        self, method: str, body: dict[str, Any] | None = None, params: dict[str, str] | None = None
    ) -> Response:
        """GET with parameters, or POST with a body. Slack says no with status 200, so the answer is always read."""
        auth = Bearer(self._config.bot_token)
        if body is None:
            response = await self._http.get(API + method, params=params, auth=auth)
        else:
            headers = {"Content-Type": "application/json; charset=utf-8"}
            response = await self._http.post(API + method, json=body, auth=auth, headers=headers)
        answered = response.json(wire.Answer)
        if not answered.ok:
            raise failure(answered.error or "unknown_error", answered.needed)
        return response


def failure(word: str, needed: str | None) -> errors.PluginError:
    kind, field = ERRORS.get(word, (errors.Rejected, None))
    hint = SENTENCES.get(word) or (f"The app needs the scope {needed}." if needed else "")
    return kind(f"Slack refused: {word}. {hint}".strip(), code=word, field=field)


@hookimpl
def hub_plugin() -> Plugin[Settings]:
    signature = Hmac(
        secret="signing_secret",  # noqa: S106 - the name of a setting
        header="x-slack-signature",
        prefix="v0=",
        message=("v0:", TIMESTAMP, ":", BODY),
        timestamp_header="x-slack-request-timestamp",
        encoding="hex",
        tolerance=300,
    )
    return Plugin(
        manifest=Manifest.load(__package__),
        config=Settings,
        connect=Slack,
        webhook=Webhook(verify=signature, normalise=normalise, answer=answer, key=event_id),
    )
