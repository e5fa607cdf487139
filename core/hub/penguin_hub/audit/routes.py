"""`/platform/audit-log`."""

from datetime import datetime
from typing import Annotated, Literal

from litestar import get
from litestar.di import NamedDependency
from litestar.params import Parameter

from penguin_hub.audit.schemas import AuditEntry
from penguin_hub.audit.service import AuditService
from penguin_hub.http.guards import admin_only
from penguin_hub.http.paging import Cursor, Limit, Offset, Order, Page, Pager, parameter
from penguin_hub.http.principal import Principal


@get(
    "/platform/audit-log",
    guards=[admin_only],
    tags=["Audit log"],
    operation_id="listAuditLog",
    summary="List what was done, by whom and from where",
)
async def list_audit_log(
    principal: NamedDependency[Principal],
    audit: NamedDependency[AuditService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    sort_by: Annotated[Literal["at"], Parameter(description="The order.")] = "at",
    order: Order = "desc",
    actor: Annotated[str | None, Parameter(max_length=64, description="Only by this key or user.")] = None,
    action: Annotated[str | None, Parameter(max_length=64, description="Only this action.")] = None,
    target: Annotated[str | None, Parameter(max_length=64, description="Only done to this.")] = None,
    since: Annotated[datetime | None, Parameter(description="From this moment on, with its zone.")] = None,
    until: Annotated[datetime | None, Parameter(description="Up to and without this moment, with its zone.")] = None,
) -> Page[AuditEntry]:
    """The newest first. Entries are never changed and never removed."""
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and moment.tzinfo is None:
            raise parameter(name, "format", f"`{name}` needs a time zone, such as Z")
    filters = {"actor": actor, "action": action, "target": target, "since": since, "until": until}
    paging = pager.paging(
        tenant=principal.tenant,
        route="audit-log",
        limit=limit,
        offset=offset,
        cursor=cursor,
        sort_by=sort_by,
        order=order,
        filters=filters,
    )
    return await audit.page(principal, paging, actor=actor, action=action, target=target, since=since, until=until)


routes = [list_audit_log]
