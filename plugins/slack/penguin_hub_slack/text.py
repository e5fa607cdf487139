"""An event of the hub as a Slack message: Block Kit, with a plain text for notifications."""

from typing import Any, Final

from penguin_hub_sdk import Event

TITLES: Final = {
    "email.queued": ":hourglass: Email queued",
    "email.sent": ":outbox_tray: Email sent",
    "email.deferred": ":hourglass_flowing_sand: Email deferred",
    "email.delivered": ":white_check_mark: Email delivered",
    "email.bounced": ":warning: Email bounced",
    "email.failed": ":x: Email failed",
    "email.opened": ":eyes: Email opened",
    "email.clicked": ":link: Link clicked",
    "email.replied": ":speech_balloon: Reply received",
    "email.complained": ":rotating_light: Reported as spam",
    "email.unsubscribed": ":wave: Unsubscribed",
    "email.resubscribed": ":bell: Subscribed again",
    "connection.error": ":electric_plug: A connection needs you",
}

# What is shown of an event's data, in this order, when it is there.
FIELDS: Final = {
    "recipient": "Recipient",
    "email": "Email",
    "subject": "Subject",
    "reason": "Reason",
    "code": "Code",
    "bounce": "Bounce",
    "url": "Link",
    "campaign_id": "Campaign",
    "plugin": "Through",
    "connection": "Connection",
    "tags": "Tags",
}

# https://docs.slack.dev/reference/block-kit/blocks/section-block: 10 fields of 2000 characters, a text of 3000.
MOST_FIELDS: Final = 10
LONGEST_FIELD: Final = 2000
LONGEST_TEXT: Final = 3000


def escape(text: str) -> str:
    """The three characters that Slack's markup reads (https://docs.slack.dev/messaging/formatting-message-text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def shown(value: object, limit: int) -> str:
    """One value in Slack's markup, at most `limit` characters of it, never cut within an escape. Nothing in it makes a
    mention or a link."""
    text = ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
    words: list[str] = []
    length = 0
    for character in " ".join(text.split()):
        word = escape(character)
        length += len(word)
        if length >= limit:
            return "".join([*words, "…"])
        words.append(word)
    return "".join(words)


def title(event: Event) -> str:
    return TITLES.get(event.type) or f"*{shown(event.type, 200)}*"


def message(event: Event) -> dict[str, Any]:
    """`text` and `blocks` of chat.postMessage."""
    facts = [
        (label, event.data[name]) for name, label in FIELDS.items() if event.data.get(name) not in (None, "", [], ())
    ][:MOST_FIELDS]
    summary = ": ".join([title(event), *(shown(value, 200) for _, value in facts[:1])])
    fields = [
        {"type": "mrkdwn", "text": f"*{label}*\n{shown(value, LONGEST_FIELD - 50)}", "verbatim": True}
        for label, value in facts
    ]
    section: dict[str, Any] = {
        "type": "section",
        "text": {"type": "mrkdwn", "text": f"*{title(event)}*" if event.type in TITLES else title(event)},
        **({"fields": fields} if fields else {}),
    }
    context = {
        "type": "context",
        "elements": [
            {
                "type": "mrkdwn",
                "text": f"{shown(event.type, 200)} · {shown(event.timestamp, 60)} · `{shown(event.id, 100)}`",
            }
        ],
    }
    return {"text": summary, "blocks": [section, context]}
