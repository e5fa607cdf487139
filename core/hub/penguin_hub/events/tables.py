"""The tables of events (migration 07)."""

from piccolo.columns import Array, Boolean, Bytea, Text
from piccolo.table import Table


class Events(Table, tablename="events"):
    """Partitioned by the day in `id`; `body` is NULL once expunged."""

    tenant_id = Text()
    id = Text(primary_key=True)
    workspace_id = Text(null=True)
    type = Text()
    message_id = Text(null=True)
    subject = Text(null=True)
    tags = Array(Text())
    test = Boolean()
    body = Bytea(null=True)


class EventKeys(Table, tablename="event_keys"):
    """Ids that tenants gave to their own events."""

    tenant_id = Text()
    message_id = Text(primary_key=True)
    event_id = Text()
