"""An example of the data of every event that the hub makes: for test deliveries and for the catalogue."""

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
    "contact_id": "con_06f3k2v9d5q0c3t1m8s7r6p4mg",
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
_CONNECTION: Final[dict[str, Any]] = {
    "id": "cnx_06f3k2v9d5q0c3t1m8s7r6p4n0",
    "workspace": "wsp_06f3k2v9d5q0c3t1m8s7r6p4n1",
    "plugin": "sample",
    "name": "Main",
    "status": "active",
    "error": None,
    "error_at": None,
    "config": {"domain": "mail.example.com"},
    "secrets": {"api_key": True},
    "streams": ["transactional", "marketing"],
    "priority": 100,
    "built_in": False,
    "capabilities": {"sends_email": True, "batch": 1, "destination": False, "webhook": True},
    "webhook_url": "https://hub.example.com/api/webhooks/sample/cnx_06f3k2v9d5q0c3t1m8s7r6p4n0",
    "last_check": {"at": "2026-11-20T12:00:00Z", "ok": True, "response_ms": 120},
    "created_at": "2026-11-20T12:00:00Z",
    "updated_at": "2026-11-20T12:00:00Z",
    "version": 1,
}
_FAILED: Final[dict[str, Any]] = {
    **_CONNECTION,
    "status": "error",
    "error": {
        "kind": "authentication",
        "detail": "The provider does not accept this key any more.",
        "retryable": False,
        "code": None,
        "field": "api_key",
        "incident": None,
    },
    "error_at": "2026-11-20T12:00:00Z",
}
_ENDPOINT: Final = "whk_06f3k2v9d5q0c3t1m8s7r6p4n3"

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
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
    "contact.created": _CONTACT,
    "contact.updated": {**_CONTACT, "version": 2},
    "contact.deleted": _CONTACT,
    "connection.created": _CONNECTION,
    "connection.updated": {**_CONNECTION, "version": 2},
    "connection.deleted": _CONNECTION,
    "connection.error": _FAILED,
    "connection.recovered": _CONNECTION,
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
