"""`/webhooks` and `/deliveries`."""

from datetime import datetime
from typing import Annotated

from litestar import delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, Parameter

from penguin_hub.delivery.schemas import (
    ChangedWebhook,
    Delivery,
    DeliveryDetail,
    DeliveryStatus,
    NewWebhook,
    Recovery,
    RecoveryWanted,
    ReplacedWebhook,
    Rotated,
    Rotation,
    TestEvent,
    Webhook,
)
from penguin_hub.delivery.service import WebhooksService
from penguin_hub.delivery.service_log import DeliveriesService
from penguin_hub.http.guards import requires
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Cursor, Limit, Offset, Order, Page, Pager
from penguin_hub.http.principal import Principal

TAGS = ["Webhooks"]
LOG_TAGS = ["Deliveries"]
GUARDS = [requires("manage_webhooks")]

WebhookId = Annotated[str, Parameter(description="An endpoint's id, `whk_...`.", max_length=64)]
DeliveryId = Annotated[str, Parameter(description="A delivery's id, `dlv_...`.", max_length=64)]
Status = Annotated[DeliveryStatus | None, Parameter(description="Only deliveries in this state.")]
Type = Annotated[str | None, Parameter(description="Only events of this type.", max_length=128)]
Since = Annotated[datetime | None, Parameter(description="Only what was published at this moment or later.")]
Until = Annotated[datetime | None, Parameter(description="Only what was published before this moment.")]


@get("/webhooks", guards=GUARDS, tags=TAGS, operation_id="listWebhooks", summary="List endpoints")
async def list_webhooks(
    principal: NamedDependency[Principal],
    webhooks: NamedDependency[WebhooksService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    order: Order = "desc",
    enabled: Annotated[bool | None, Parameter(description="Only enabled, or only disabled ones.")] = None,
) -> Page[Webhook]:
    """The newest first, unless you say otherwise. Signing secrets are never shown."""
    paging = pager.paging(
        tenant=principal.tenant,
        route="webhooks",
        limit=limit,
        offset=offset,
        cursor=cursor,
        order=order,
        filters={"enabled": enabled},
    )
    return await webhooks.page(principal.tenant, paging, enabled=enabled)


@post(
    "/webhooks",
    guards=GUARDS,
    tags=TAGS,
    operation_id="createWebhook",
    summary="Create an endpoint",
    opt={"idempotent": True},
)
async def create_webhook(
    data: JSONBody[NewWebhook],
    principal: NamedDependency[Principal],
    webhooks: NamedDependency[WebhooksService],
    once: NamedDependency[Once],
) -> Webhook:
    """The answer holds the signing `secret`, this once: keep it where your receiver verifies."""
    return await webhooks.create(principal, data, once)


@get("/webhooks/{webhook_id:str}", guards=GUARDS, tags=TAGS, operation_id="getWebhook", summary="Get an endpoint")
async def get_webhook(
    webhook_id: WebhookId, principal: NamedDependency[Principal], webhooks: NamedDependency[WebhooksService]
) -> Webhook:
    """With its health over the last 24 hours."""
    return await webhooks.get(principal.tenant, webhook_id)


@put(
    "/webhooks/{webhook_id:str}", guards=GUARDS, tags=TAGS, operation_id="replaceWebhook", summary="Replace an endpoint"
)
async def replace_webhook(
    webhook_id: WebhookId,
    data: JSONBody[ReplacedWebhook],
    principal: NamedDependency[Principal],
    webhooks: NamedDependency[WebhooksService],
) -> Webhook:
    """What is left out goes back to its default; secrets and state stay."""
    return await webhooks.replace(principal.tenant, webhook_id, data)


@patch(
    "/webhooks/{webhook_id:str}", guards=GUARDS, tags=TAGS, operation_id="changeWebhook", summary="Change an endpoint"
)
async def change_webhook(
    webhook_id: WebhookId,
    data: JSONBody[ChangedWebhook],
    principal: NamedDependency[Principal],
    webhooks: NamedDependency[WebhooksService],
) -> Webhook:
    """What is left out stays. Retries that wait already go to the new address with the new secret."""
    return await webhooks.change(principal.tenant, webhook_id, data)


@delete(
    "/webhooks/{webhook_id:str}", guards=GUARDS, tags=TAGS, operation_id="deleteWebhook", summary="Delete an endpoint"
)
async def delete_webhook(
    webhook_id: WebhookId, principal: NamedDependency[Principal], webhooks: NamedDependency[WebhooksService]
) -> None:
    """What waits for it is discarded; its log stays."""
    await webhooks.delete(principal.tenant, webhook_id)


@post(
    "/webhooks/{webhook_id:str}/enable",
    guards=GUARDS,
    tags=TAGS,
    operation_id="enableWebhook",
    summary="Enable an endpoint",
    status_code=200,
)
async def enable_webhook(
    webhook_id: WebhookId, principal: NamedDependency[Principal], webhooks: NamedDependency[WebhooksService]
) -> Webhook:
    """New events flow; what was missed comes with a recovery."""
    return await webhooks.switch(principal.tenant, webhook_id, enabled=True)


@post(
    "/webhooks/{webhook_id:str}/disable",
    guards=GUARDS,
    tags=TAGS,
    operation_id="disableWebhook",
    summary="Disable an endpoint",
    status_code=200,
)
async def disable_webhook(
    webhook_id: WebhookId, principal: NamedDependency[Principal], webhooks: NamedDependency[WebhooksService]
) -> Webhook:
    """Nothing more is sent; what waits is discarded."""
    return await webhooks.switch(principal.tenant, webhook_id, enabled=False)


@post(
    "/webhooks/{webhook_id:str}/rotate-secret",
    guards=GUARDS,
    tags=TAGS,
    operation_id="rotateWebhookSecret",
    summary="Rotate the signing secret",
    status_code=200,
    opt={"idempotent": True},
)
async def rotate_secret(
    webhook_id: WebhookId,
    data: JSONBody[Rotation],
    principal: NamedDependency[Principal],
    webhooks: NamedDependency[WebhooksService],
    once: NamedDependency[Once],
) -> Rotated:
    """Until the grace ends every delivery is signed with the new secret and with the ones before it."""
    return await webhooks.rotate(principal, webhook_id, data, once)


@post(
    "/webhooks/{webhook_id:str}/test",
    guards=GUARDS,
    tags=TAGS,
    operation_id="testWebhook",
    summary="Send a test event",
    status_code=202,
    opt={"idempotent": True},
)
async def test_webhook(
    webhook_id: WebhookId,
    data: JSONBody[TestEvent],
    principal: NamedDependency[Principal],
    deliveries: NamedDependency[DeliveriesService],
    once: NamedDependency[Once],
) -> Delivery:
    """An example event of the type, to this endpoint alone, whatever it subscribes to."""
    return await deliveries.test(principal, webhook_id, data, once)


@post(
    "/webhooks/{webhook_id:str}/recover",
    guards=GUARDS,
    tags=TAGS,
    operation_id="recoverWebhook",
    summary="Deliver again what was missed",
    status_code=202,
    opt={"idempotent": True},
)
async def recover_webhook(
    webhook_id: WebhookId,
    data: JSONBody[RecoveryWanted],
    principal: NamedDependency[Principal],
    deliveries: NamedDependency[DeliveriesService],
    once: NamedDependency[Once],
) -> Recovery:
    """Everything of that time that failed, was discarded, or was published while the endpoint was disabled."""
    return await deliveries.recover(principal, webhook_id, data, once)


@get(
    "/webhooks/{webhook_id:str}/recoveries/{recovery_id:str}",
    guards=GUARDS,
    tags=TAGS,
    operation_id="getRecovery",
    summary="Get a recovery",
)
async def get_recovery(
    webhook_id: WebhookId,
    recovery_id: Annotated[str, Parameter(description="A recovery's id, `rcv_...`.", max_length=64)],
    principal: NamedDependency[Principal],
    deliveries: NamedDependency[DeliveriesService],
) -> Recovery:
    """How far it is."""
    return await deliveries.recovery(principal.tenant, webhook_id, recovery_id)


@get(
    "/webhooks/{webhook_id:str}/deliveries",
    guards=GUARDS,
    tags=LOG_TAGS,
    operation_id="listWebhookDeliveries",
    summary="List an endpoint's deliveries",
)
async def list_webhook_deliveries(
    webhook_id: WebhookId,
    principal: NamedDependency[Principal],
    deliveries: NamedDependency[DeliveriesService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    order: Order = "desc",
    status: Status = None,
    type: Type = None,
    since: Since = None,
    until: Until = None,
) -> Page[Delivery]:
    """The newest first, unless you say otherwise."""
    filters = {"webhook": webhook_id, "status": status, "type": type, "since": since, "until": until}
    paging = pager.paging(
        tenant=principal.tenant,
        route="deliveries",
        limit=limit,
        offset=offset,
        cursor=cursor,
        order=order,
        filters=filters,
    )
    return await deliveries.page(
        principal.tenant, paging, webhook=webhook_id, status=status, type=type, since=since, until=until
    )


@get("/deliveries", guards=GUARDS, tags=LOG_TAGS, operation_id="listDeliveries", summary="List deliveries")
async def list_deliveries(
    principal: NamedDependency[Principal],
    deliveries: NamedDependency[DeliveriesService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    order: Order = "desc",
    event: Annotated[str | None, Parameter(description="Only of this event.", max_length=64)] = None,
    status: Status = None,
    type: Type = None,
    since: Since = None,
    until: Until = None,
) -> Page[Delivery]:
    """Of all endpoints, the newest first unless you say otherwise."""
    filters = {"event": event, "status": status, "type": type, "since": since, "until": until}
    paging = pager.paging(
        tenant=principal.tenant,
        route="deliveries",
        limit=limit,
        offset=offset,
        cursor=cursor,
        order=order,
        filters=filters,
    )
    return await deliveries.page(
        principal.tenant, paging, event=event, status=status, type=type, since=since, until=until
    )


@get(
    "/deliveries/{delivery_id:str}", guards=GUARDS, tags=LOG_TAGS, operation_id="getDelivery", summary="Get a delivery"
)
async def get_delivery(
    delivery_id: DeliveryId, principal: NamedDependency[Principal], deliveries: NamedDependency[DeliveriesService]
) -> DeliveryDetail:
    """With every attempt: what was sent, what came back, how long each part took."""
    return await deliveries.get(principal.tenant, delivery_id)


@post(
    "/deliveries/{delivery_id:str}/resend",
    guards=GUARDS,
    tags=LOG_TAGS,
    operation_id="resendDelivery",
    summary="Send a delivery again",
    status_code=202,
    opt={"idempotent": True},
)
async def resend_delivery(
    delivery_id: DeliveryId,
    principal: NamedDependency[Principal],
    deliveries: NamedDependency[DeliveriesService],
    once: NamedDependency[Once],
) -> Delivery:
    """The same bytes with the same `webhook-id`. One that waits for a retry is sent at once instead."""
    return await deliveries.resend(principal, delivery_id, once)


routes = [
    list_webhooks,
    create_webhook,
    get_webhook,
    replace_webhook,
    change_webhook,
    delete_webhook,
    enable_webhook,
    disable_webhook,
    rotate_secret,
    test_webhook,
    recover_webhook,
    get_recovery,
    list_webhook_deliveries,
    list_deliveries,
    get_delivery,
    resend_delivery,
]
