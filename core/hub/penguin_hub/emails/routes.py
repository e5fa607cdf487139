"""`/emails`."""

from datetime import datetime
from typing import Annotated, Literal

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, Parameter

from penguin_hub.emails.schemas import MAX_BODY, AcceptedEmail, Email, EmailSummary, NewEmail, Status
from penguin_hub.emails.service import EmailsService
from penguin_hub.http.guards import requires
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Cursor, Limit, Offset, Order, Page, Pager, parameter
from penguin_hub.http.principal import Principal

TAGS = ["Emails"]
GUARDS = [requires("send_email")]


@post(
    "/emails/send",
    status_code=202,
    guards=GUARDS,
    tags=TAGS,
    operation_id="sendEmail",
    summary="Send an email",
    request_max_body_size=MAX_BODY,
)
async def send_email(
    data: JSONBody[NewEmail],
    principal: NamedDependency[Principal],
    emails: NamedDependency[EmailsService],
    once: NamedDependency[Once],
) -> AcceptedEmail:
    """The message is stored before the answer, and tried until the provider takes it or refuses it for good.

    `status` is `suppressed` when every recipient is on the suppression list; then nothing is sent. With a test key
    nothing leaves the hub: the sandbox plays the provider.
    """
    return await emails.send(principal, data, once)


@get("/emails", guards=GUARDS, tags=TAGS, operation_id="listEmails", summary="List emails")
async def list_emails(
    principal: NamedDependency[Principal],
    emails: NamedDependency[EmailsService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    sort_by: Annotated[Literal["created_at"], Parameter(description="The order.")] = "created_at",
    order: Order = "desc",
    status: Annotated[Status | None, Parameter(description="Only of this status.")] = None,
    tag: Annotated[str | None, Parameter(max_length=128, description="Only with this tag.")] = None,
    recipient: Annotated[str | None, Parameter(max_length=254, description="Only to this address.")] = None,
    connection: Annotated[str | None, Parameter(max_length=64, description="Only through this connection.")] = None,
    created_from: Annotated[datetime | None, Parameter(description="Not before this moment.")] = None,
    created_before: Annotated[datetime | None, Parameter(description="Before this moment.")] = None,
) -> Page[EmailSummary]:
    """The newest first, without what they say. A test key sees the mail of test mode, a live key the real."""
    for name, moment in (("created_from", created_from), ("created_before", created_before)):
        if moment is not None and moment.tzinfo is None:
            raise parameter(name, "format", "Give the moment with its zone, such as 2026-01-31T08:00:00Z")
    filters = {"status": status, "tag": tag, "connection": connection}
    paging = pager.paging(
        tenant=principal.tenant,
        route="emails",
        limit=limit,
        offset=offset,
        cursor=cursor,
        sort_by=sort_by,
        order=order,
        filters={
            **filters,
            "recipient": recipient,
            "from": created_from,
            "before": created_before,
            "environment": principal.environment,
        },
    )
    return await emails.page(
        principal, paging, recipient=recipient, created_from=created_from, created_before=created_before, **filters
    )


@get("/emails/{email_id:str}", guards=GUARDS, tags=TAGS, operation_id="getEmail", summary="Get an email")
async def get_email(
    email_id: Annotated[str, Parameter(description="An email's id, `eml_...`.", max_length=64)],
    principal: NamedDependency[Principal],
    emails: NamedDependency[EmailsService],
) -> Email:
    """What it says, what became of each recipient, and everything that happened to it."""
    return await emails.get(principal, email_id)


routes = [send_email, list_emails, get_email]
