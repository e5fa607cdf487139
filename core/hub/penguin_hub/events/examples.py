"""The events the hub makes, with an example of each: for test deliveries and for documentation."""

from typing import Any, Final

_EMAIL: Final[dict[str, Any]] = {
    "email_id": "eml_06f3k2v9d5q0c3t1m8s7r6p4n2",
    "message_id": "06f3k2v9d5q0c3t1m8s7r6p4n2@mail.example.com",
    "recipient": "ada@example.com",
    "subject": "Welcome",
    "tags": ["welcome"],
    "metadata": {"order": "1001"},
    "connection": "cnx_06f3k2v9d5q0c3t1m8s7r6p4n0",
    "plugin": "sample",
}
_CONTACT: Final[dict[str, Any]] = {
    "id": "con_06f3k2v9d5q0c3t1m8s7r6p4mg",
    "workspace": "wsp_06f3k2v9d5q0c3t1m8s7r6p4n1",
    "email": "ada@example.com",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "tags": ["vip"],
    "attributes": {"lead_score": 70},
    "created_at": "2026-11-20T12:00:00Z",
    "updated_at": "2026-11-20T12:00:00Z",
    "version": 1,
}
_ENDPOINT: Final = "whk_06f3k2v9d5q0c3t1m8s7r6p4n3"

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "email.queued": _EMAIL,
    "email.sent": _EMAIL,
    "email.deferred": {**_EMAIL, "reason": "451 4.7.1 Try again later", "code": "4.7.1"},
    "email.delivered": _EMAIL,
    "email.bounced": {**_EMAIL, "bounce": "hard", "reason": "550 5.1.1 No such user", "code": "5.1.1"},
    "email.failed": {**_EMAIL, "reason": "Rejected by the provider"},
    "email.opened": {**_EMAIL, "user_agent": "Mozilla/5.0", "ip": "192.0.2.10"},
    "email.clicked": {**_EMAIL, "url": "https://example.com/offer", "user_agent": "Mozilla/5.0", "ip": "192.0.2.10"},
    "email.replied": _EMAIL,
    "email.complained": _EMAIL,
    "email.unsubscribed": _EMAIL,
    "email.resubscribed": _EMAIL,
    "contact.created": _CONTACT,
    "contact.updated": {**_CONTACT, "version": 2},
    "contact.deleted": _CONTACT,
    "endpoint.disabled": {"endpoint_id": _ENDPOINT, "reason": "failing", "failing_since": "2026-11-15T12:00:00Z"},
    "endpoint.warning": {
        "endpoint_id": _ENDPOINT,
        "failing_since": "2026-11-15T12:00:00Z",
        "percent": 50,
        "disabled_at": "2026-11-20T12:00:00Z",
    },
    "message.exhausted": {
        "delivery_id": "dlv_06f3k2v9d5q0c3t1m8s7r6p4n3",
        "endpoint_id": _ENDPOINT,
        "event_id": "evt_06f3k2v9d5q0c3t1m8s7r6p4mu",
        "event_type": "email.sent",
        "attempts": 6,
        "last_status": 500,
        "last_error": "status",
    },
    "webhook.test": {"message": "This is a test delivery."},
}


def example(type: str) -> dict[str, Any]:
    """An example of that type's data; for types of a tenant's own a plain sentence."""
    return EXAMPLES.get(type, {"message": "This is a test delivery.", "type": type})
