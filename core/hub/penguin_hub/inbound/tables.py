"""The table of providers' requests (migration 08)."""

from piccolo.columns import JSONB, Array, BigInt, Bytea, SmallInt, Text, Timestamptz
from piccolo.table import Table


class InboundRequests(Table, tablename="inbound_requests"):
    tenant_id = Text()
    id = Text(primary_key=True)
    connection_id = Text()
    plugin = Text()
    key = Bytea()
    method = Text()
    url = Text()
    headers = JSONB()
    body = Bytea()
    received_at = Timestamptz()
    state = Text()
    attempts = SmallInt()
    due_at = Timestamptz()
    lease_until = Timestamptz(null=True)
    lease_token = BigInt(null=True)
    events = Array(Text())
    error = Text(null=True)
    processed_at = Timestamptz(null=True)
