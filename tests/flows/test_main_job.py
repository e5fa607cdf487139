"""The hub's main job, as its users see it: messages go out through plugins, the providers' answers come back through
the same plugins, and the tenant's webhook hears of all: signed, retried, never lost.

Everything is real but the providers: the hub as `penguin up` starts it, an SMTP server, a receiver that verifies each
delivery with the `standardwebhooks` package. Mailgun and Slack are recorders that hold each request against the
providers' own descriptions, where those are present.
"""

import asyncio
import email
import email.policy
import hashlib
import hmac
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiosmtpd.controller import Controller
from support import providers
from support.hub import Hub
from support.receiver import Received, receiver

SIGNING_KEY = "a-webhook-signing-key"
FIXTURES = Path(__file__).parents[2] / "plugins/mailgun/tests/fixtures"
# What Mailgun reports -> what the tenant hears.
STORY = {
    "delivered": "email.delivered",
    "opened": "email.opened",
    "clicked": "email.clicked",
    "failed-permanent": "email.bounced",
    "complained": "email.complained",
    "unsubscribed": "email.unsubscribed",
}


class Mailbox:
    """An SMTP server's memory."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 -- aiosmtpd's name
        self.messages.append(envelope)
        return "250 2.0.0 taken"


@asynccontextmanager
async def mail_server() -> AsyncIterator[tuple[Mailbox, int]]:
    mailbox = Mailbox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield mailbox, port
    finally:
        controller.stop()


class Tenant:
    """A program with a key."""

    def __init__(self, session: aiohttp.ClientSession, hub: Hub) -> None:
        self._session = session
        self._hub = hub

    async def ask(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        headers = {"authorization": f"Bearer {self._hub.live_key}"}
        async with self._session.request(method, self._hub.url + path, json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == expect, f"{method} {path}: {answer.status} {text}"
            return json.loads(text) if text else None

    async def mailgun_reports(self, connection: str, raw: bytes) -> int:
        """As Mailgun would: no key, its own signature."""
        url = f"{self._hub.url}/api/webhooks/mailgun/{connection}"
        async with self._session.post(url, data=raw, headers={"content-type": "application/json"}) as answer:
            await answer.read()
            return answer.status


def report(kind: str, email_id: str, recipient: str, *, key: str = SIGNING_KEY) -> bytes:
    """A recorded Mailgun request, about this message and signed now."""
    payload = json.loads((FIXTURES / f"{kind}.json").read_text())
    stamp, token = str(int(time.time())), secrets.token_hex(25)
    payload["signature"] = {
        "timestamp": stamp,
        "token": token,
        "signature": hmac.new(key.encode(), (stamp + token).encode(), hashlib.sha256).hexdigest(),
    }
    event = payload["event-data"]
    event.update({"id": secrets.token_urlsafe(16), "recipient": recipient, "timestamp": time.time()})
    event["user-variables"] = {"hub-email-id": email_id}
    return json.dumps(payload).encode()


def identical_copies(requests: list[Received]) -> None:
    """A delivery may come twice; then it is the same delivery, to the byte."""
    bodies: dict[str, bytes] = {}
    for received in requests:
        assert received.verified
        assert bodies.setdefault(received.id, received.body) == received.body


async def test_a_message_goes_out_its_story_comes_back_and_the_tenant_hears_of_it(
    start_hub: Callable[..., Hub],
) -> None:
    async with (
        providers.mailgun() as mailgun,
        providers.slack() as slack,
        mail_server() as (mailbox, smtp_port),
        receiver() as tenants_server,
        aiohttp.ClientSession() as session,
    ):
        overrides = {"api.mailgun.net": mailgun.url, "slack.com": slack.url}
        hub = start_hub(extra={"PENGUIN_PROVIDER_OVERRIDES": json.dumps(overrides)})
        tenant = Tenant(session, hub)

        # The tenant's webhook, and a Slack channel that wants to know of bounces.
        hook = await tenant.ask("POST", "/api/v1/webhooks", {"url": tenants_server.url, "events": ["*"]}, expect=201)
        tenants_server.secret = hook["secret"]
        channel = await tenant.ask(
            "POST",
            "/api/v1/connections",
            {"plugin": "slack", "config": {"bot_token": "xoxb-1", "signing_secret": "s3cret", "channel": "C024BE91L"}},
            expect=201,
        )
        bounces = {"connection": channel["id"], "events": ["email.bounced"]}
        await tenant.ask("POST", "/api/v1/webhooks", bounces, expect=201)

        # Two providers, each checked before it is saved.
        smtp = await tenant.ask(
            "POST",
            "/api/v1/connections",
            {"plugin": "smtp", "config": {"host": "127.0.0.1", "port": smtp_port, "security": "none"}},
            expect=201,
        )
        mailgun_connection = await tenant.ask(
            "POST",
            "/api/v1/connections",
            {
                "plugin": "mailgun",
                "config": {
                    "api_key": "key-1",
                    "domain": "mg.example.com",
                    "region": "us",
                    "webhook_signing_key": SIGNING_KEY,
                },
            },
            expect=201,
        )
        assert SIGNING_KEY not in json.dumps(mailgun_connection)

        contact = {"email": "ada@example.com", "first_name": "Ada", "tags": ["customer"]}
        await tenant.ask("POST", "/api/v1/contacts", contact, expect=201)

        async def send(to: str, connection: str) -> str:
            message = {
                "from": "Shop <shop@mg.example.com>",
                "to": to,
                "subject": "Grüße",
                "text": "Hello",
                "html": "<p>Hi",
            }
            accepted = await tenant.ask(
                "POST", "/api/v1/emails/send", {**message, "connection": connection}, expect=202
            )
            return str(accepted["id"])

        by_smtp = await send("ada@example.com", smtp["id"])
        sent = {kind: await send(f"{kind}@example.com", mailgun_connection["id"]) for kind in STORY}
        # The worker dies in the middle of it all.
        os.kill(hub.pids()["worker"], signal.SIGKILL)
        sent["unknown-kind"] = await send("unknown-kind@example.com", mailgun_connection["id"])
        calls = await mailgun.until("/messages", len(sent))
        assert {call.form["to"][0] for call in calls} >= {f"{kind}@example.com" for kind in STORY}
        assert mailgun.problems == []

        # The provider's story, with a forger among them; the worker dies once more before all is told.
        forged = report("delivered", by_smtp, "ada@example.com", key="not-the-key")
        assert await tenant.mailgun_reports(mailgun_connection["id"], forged) == 401
        for number, (kind, email_id) in enumerate(sent.items()):
            raw = report(kind, email_id, f"{kind}@example.com")
            assert await tenant.mailgun_reports(mailgun_connection["id"], raw) == 200
            # A redelivery of the same request changes nothing.
            assert await tenant.mailgun_reports(mailgun_connection["id"], raw) == 200
            if number == 3:
                os.kill(hub.pids()["worker"], signal.SIGKILL)

        # The tenant hears of everything, once each, however often it was told.
        wanted = {(kind, sent[name]) for name, kind in STORY.items()} | {("email.sent", by_smtp)}
        wanted |= {("email.sent", email_id) for email_id in sent.values()}

        def heard() -> list[tuple[str, str]]:
            first = {r.id: r.event for r in tenants_server.requests}
            return [(e["type"], e["data"]["email_id"]) for e in first.values() if e["type"].startswith("email.")]

        try:
            await tenants_server.until(lambda _: wanted <= set(heard()), seconds=120)
        except TimeoutError:
            missing = wanted - set(heard())
            stories = [await tenant.ask("GET", f"/api/v1/emails/{email_id}") for _, email_id in missing]
            raise AssertionError([missing, stories]) from None
        # An event that Mailgun redelivered, or that a killed worker had begun, is still one event.
        assert len(heard()) == len(set(heard())), sorted(heard())
        assert {event["data"]["email"] for event in tenants_server.of("contact.created")} == {"ada@example.com"}
        identical_copies(tenants_server.requests)

        # Slack saw the bounce; the mail server the message.
        posts = await slack.until("/api/chat.postMessage", 1)
        assert "failed-permanent@example.com" in json.dumps([posts[0].form, posts[0].json])
        # (A killed worker may have sent it before: then it comes twice, as one and the same message.)
        (envelope,) = {message_id(message.content): message for message in mailbox.messages}.values()
        assert envelope.rcpt_tos == ["ada@example.com"]
        assert b"Subject: =?utf-8?" in envelope.content

        # What the API says of it.
        bounced = await tenant.ask("GET", f"/api/v1/emails/{sent['failed-permanent']}")
        assert bounced["status"] == "bounced"
        assert [event["type"] for event in bounced["events"]][-1] == "email.bounced"
        unknown = await tenant.ask("GET", f"/api/v1/emails/{sent['unknown-kind']}")
        assert "unknown" in [event["type"] for event in unknown["events"]]
        suppressed = await tenant.ask("GET", "/api/v1/suppressions?limit=50")
        assert {(row["email"], row["reason"]) for row in suppressed["data"]} >= {
            ("failed-permanent@example.com", "hard_bounce"),
            ("complained@example.com", "complaint"),
            ("unsubscribed@example.com", "unsubscribe"),
        }
        await nothing_waits(tenant, hook["id"])
        log = hub.text()
        for secret in (SIGNING_KEY, hook["secret"], hub.live_key, "key-1", "xoxb-1"):
            assert secret not in log


def message_id(raw: bytes) -> str:
    return str(email.message_from_bytes(raw, policy=email.policy.default)["message-id"])


async def nothing_waits(tenant: Tenant, webhook: str) -> None:
    """Every delivery of the endpoint succeeded."""
    for _ in range(50):
        page = await tenant.ask("GET", f"/api/v1/webhooks/{webhook}/deliveries?limit=100")
        if all(row["status"] == "succeeded" for row in page["data"]):
            return
        await asyncio.sleep(0.2)
    raise AssertionError([row["status"] for row in page["data"]])
