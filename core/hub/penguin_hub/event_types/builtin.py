"""The types of event that the hub makes itself: what each means, what its data is, an example."""

from typing import Any, Final

import msgspec

from penguin_hub.connections.schemas import Connection
from penguin_hub.contacts.schemas import Contact
from penguin_hub.event_types.schemas import EventType
from penguin_hub.events.examples import EXAMPLES

_TEXT: Final[dict[str, Any]] = {"type": "string"}
_TEXT_OR_NULL: Final[dict[str, Any]] = {"type": ["string", "null"]}
_MOMENT: Final[dict[str, Any]] = {"type": "string", "format": "date-time"}
_MOMENT_OR_NULL: Final[dict[str, Any]] = {"type": ["string", "null"], "format": "date-time"}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Further members may come with time, so none is forbidden."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


# What a provider may add to any report.
_DETAIL: Final[dict[str, Any]] = {
    "reason": {**_TEXT, "description": "The provider's or the recipient server's own sentence."},
    "code": {**_TEXT, "description": "SMTP enhanced status code (RFC 3463) where there is one, else the provider's."},
    "bounce": {
        "enum": ["hard", "soft", "block", "undetermined"],
        "description": "`hard`: the address does not work, and is suppressed.",
    },
    "url": {**_TEXT, "description": "The link."},
    "user_agent": _TEXT,
    "ip": _TEXT,
}
_EMAIL: Final = _object(
    {
        "email_id": {**_TEXT, "pattern": "^eml_"},
        "message_id": {**_TEXT, "description": "The Message-ID of the message, without its brackets."},
        "recipient": {**_TEXT_OR_NULL, "description": "null when the provider does not say whom it is about."},
        "subject": _TEXT,
        "tags": {"type": "array", "items": _TEXT},
        "metadata": {"type": "object", "additionalProperties": _TEXT},
        "connection": {**_TEXT, "pattern": "^cnx_"},
        "plugin": _TEXT_OR_NULL,
        "contact_id": {**_TEXT_OR_NULL, "description": "The contact that the recipient is."},
        **_DETAIL,
    },
    optional=tuple(_DETAIL),
)
_CONTACT: Final = msgspec.json.schema(Contact)
_CONNECTION: Final = msgspec.json.schema(Connection)
_DISABLED: Final = _object(
    {
        "endpoint_id": {**_TEXT, "pattern": "^whk_"},
        "reason": {"enum": ["failing", "gone"]},
        "failing_since": _MOMENT_OR_NULL,
    }
)
_WARNING: Final = _object(
    {
        "endpoint_id": {**_TEXT, "pattern": "^whk_"},
        "failing_since": _MOMENT,
        "percent": {"type": "integer", "minimum": 1, "maximum": 100},
        "disabled_at": _MOMENT,
    }
)
_EXHAUSTED: Final = _object(
    {
        "delivery_id": {**_TEXT, "pattern": "^dlv_"},
        "endpoint_id": {**_TEXT, "pattern": "^whk_"},
        "event_id": {**_TEXT, "pattern": "^evt_"},
        "event_type": _TEXT,
        "attempts": {"type": "integer", "minimum": 0},
        "last_status": {"type": ["integer", "null"]},
        "last_error": _TEXT_OR_NULL,
    }
)

# Type -> what it means, and the schema of its data.
_TYPES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "contact.created": ("A contact was created.", _CONTACT),
    "contact.updated": ("A contact was changed; the data is what it became.", _CONTACT),
    "contact.deleted": ("A contact was deleted; the data is what it was.", _CONTACT),
    "connection.created": ("A connection to a provider was made.", _CONNECTION),
    "connection.updated": ("A connection's configuration or state was changed by its owner.", _CONNECTION),
    "connection.deleted": ("A connection was removed; the data is what it was.", _CONNECTION),
    "connection.error": ("A provider does not accept a connection any more, or does not answer.", _CONNECTION),
    "connection.recovered": ("A connection that was in error works again.", _CONNECTION),
    "email.sent": ("The provider accepted a message for a recipient.", _EMAIL),
    "email.deferred": ("A message could not be handed over yet and will be tried again.", _EMAIL),
    "email.delivered": ("The recipient's server took the message.", _EMAIL),
    "email.bounced": ("The recipient's server refused the message for good.", _EMAIL),
    "email.failed": ("The message never left: rejected, suppressed, or out of retries.", _EMAIL),
    "email.opened": ("The message was opened.", _EMAIL),
    "email.clicked": ("A link of the message was followed.", _EMAIL),
    "email.replied": ("The message was answered.", _EMAIL),
    "email.complained": ("The recipient reported the message as spam.", _EMAIL),
    "email.unsubscribed": ("The recipient unsubscribed.", _EMAIL),
    "endpoint.disabled": ("A webhook endpoint was disabled because it failed or answered 410.", _DISABLED),
    "endpoint.warning": ("A webhook endpoint keeps failing and will be disabled.", _WARNING),
    "message.exhausted": ("The last retry of a delivery failed.", _EXHAUSTED),
    "webhook.test": ("A test delivery.", _object({"message": _TEXT})),
}

BUILTIN: Final[dict[str, EventType]] = {
    name: EventType(
        name=name,
        origin="hub",
        description=description,
        schema=schema,
        version=1,
        example=EXAMPLES[name],
        created_at=None,
        updated_at=None,
    )
    for name, (description, schema) in _TYPES.items()
}
