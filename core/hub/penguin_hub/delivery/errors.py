"""What endpoints and deliveries may raise."""

from penguin_hub.platform.errors import Conflict, Gone, Invalid, NotFound


class WebhookNotFound(NotFound):
    code = "webhook_not_found"


class DeliveryNotFound(NotFound):
    code = "delivery_not_found"


class RecoveryNotFound(NotFound):
    code = "recovery_not_found"


class UrlNotAllowed(Invalid):
    """The URL does not lead to a public http or https address. One sentence, whatever the reason inside."""

    code = "url_not_allowed"


class WebhookDisabled(Conflict):
    """Nothing is sent to a disabled endpoint, by hand neither."""

    code = "webhook_disabled"


class TooManyWebhooks(Conflict):
    """The tenant has as many endpoints as it may have."""

    code = "too_many_webhooks"


class TooManySecrets(Invalid):
    """Rotated too often within the grace."""

    code = "too_many_secrets"


class PayloadExpired(Gone):
    """What the delivery carried is not kept any longer."""

    code = "payload_expired"


class BeingDelivered(Conflict):
    """An attempt is under way; its outcome comes first."""

    code = "delivery_in_progress"


class WebhookPolled(Conflict):
    """Nothing is sent to an endpoint that is polled."""

    code = "webhook_polled"


class WebhookNotPolled(Conflict):
    """The endpoint was not made with `"mode": "poll"`."""

    code = "webhook_not_polled"


class CursorExpired(Gone):
    """The cursor is older than the events that are kept: some may have been missed."""

    code = "cursor_expired"
