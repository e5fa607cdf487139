"""The tables of the catalogue (migration 10)."""

from piccolo.columns import BigInt, Integer, Text, Timestamptz
from piccolo.table import Table


class EventTypes(Table, tablename="event_types"):
    """`schema` and `example` are JSON as it was given: the order of keys is part of what people read."""

    tenant_id = Text()
    name = Text(primary_key=True)
    description = Text()
    schema = Text()
    example = Text()
    version = Integer()
    created_at = Timestamptz()
    updated_at = Timestamptz()


class EventTypeSets(Table, tablename="event_type_sets"):
    """Counts every change of a tenant's types: publishers keep them in memory and ask only for this."""

    tenant_id = Text(primary_key=True)
    version = BigInt()
