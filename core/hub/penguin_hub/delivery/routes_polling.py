"""`/webhooks/{id}/poll`."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import Parameter

from penguin_hub.delivery.polling import MAX_WAIT, PollingService
from penguin_hub.delivery.routes import GUARDS, TAGS, WebhookId
from penguin_hub.delivery.schemas import Polled
from penguin_hub.http.paging import MAX_LIMIT
from penguin_hub.http.principal import Principal


@get(
    "/webhooks/{webhook_id:str}/poll",
    guards=GUARDS,
    tags=TAGS,
    operation_id="pollWebhook",
    summary="Poll an endpoint's events",
)
async def poll_webhook(
    webhook_id: WebhookId,
    principal: NamedDependency[Principal],
    polling: NamedDependency[PollingService],
    cursor: Annotated[
        str | None,
        Parameter(max_length=8192, description="`next_cursor` of the poll before; without it, from the beginning."),
    ] = None,
    limit: Annotated[int, Parameter(ge=1, le=MAX_LIMIT, description="How many events at most, 1 to 100.")] = MAX_LIMIT,
    wait: Annotated[
        int, Parameter(ge=0, le=MAX_WAIT, description="Seconds to wait for something to come, when nothing is there.")
    ] = 0,
) -> Polled:
    """For endpoints made with `"mode": "poll"`: what is new, in order, as it would have been delivered.

    At least once: give `next_cursor` back once you have dealt with the events, and keep it where it survives you. The
    same cursor gives the same events again, for as long as events are kept.
    """
    return await polling.poll(principal.tenant, webhook_id, cursor=cursor, limit=limit, wait=wait)


routes = [poll_webhook]
