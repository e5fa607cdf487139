"""The tables of endpoints and deliveries (migration 07)."""

from piccolo.columns import (
    JSONB,
    Array,
    BigInt,
    Boolean,
    Bytea,
    DoublePrecision,
    Integer,
    SmallInt,
    Text,
    Timestamptz,
)
from piccolo.table import Table


class Webhooks(Table, tablename="webhooks"):
    tenant_id = Text()
    id = Text(primary_key=True)
    mode = Text()
    url = Text(null=True)
    connection_id = Text(null=True)
    events = Array(Text())
    description = Text()
    filter = JSONB()
    headers = JSONB()
    secret_headers = Array(Text())
    auth = JSONB(null=True)
    legacy_signature = JSONB(null=True)
    retry = Array(DoublePrecision())
    rate = DoublePrecision(null=True)
    concurrency = SmallInt()
    ordered = Boolean()
    enabled = Boolean()
    disabled_reason = Text(null=True)
    version = BigInt()
    secret_version = BigInt()
    paced_until = Timestamptz(null=True)
    failing_since = Timestamptz(null=True)
    last_failed_at = Timestamptz(null=True)
    warned = SmallInt()
    created_at = Timestamptz()
    updated_at = Timestamptz()
    deleted_at = Timestamptz(null=True)


class WebhookSets(Table, tablename="webhook_sets"):
    tenant_id = Text(primary_key=True)
    version = BigInt()


class WebhookStats(Table, tablename="webhook_stats"):
    tenant_id = Text()
    webhook_id = Text()
    hour = Timestamptz(primary_key=True)
    succeeded = BigInt()
    failed = BigInt()
    total_ms = BigInt()


class WebhookRecoveries(Table, tablename="webhook_recoveries"):
    tenant_id = Text()
    id = Text(primary_key=True)
    webhook_id = Text()
    since = Timestamptz()
    until = Timestamptz()
    reached = Text()
    state = Text()
    examined = BigInt()
    requeued = BigInt()
    created_at = Timestamptz()


class DeliveryQueue(Table, tablename="delivery_queue"):
    """Deliveries that are not finished; one row leaves for `deliveries` when it is."""

    tenant_id = Text()
    id = Text(primary_key=True)
    endpoint_id = Text()
    event_id = Text()
    type = Text()
    lane = SmallInt()
    attempt = SmallInt()
    series = SmallInt()
    last_status = SmallInt(null=True)
    last_error = Text(null=True)
    due_at = Timestamptz()
    lease_until = Timestamptz(null=True)
    lease_token = BigInt(null=True)
    ordering_key = Text(null=True)
    place = BigInt(null=True)


class Deliveries(Table, tablename="deliveries"):
    tenant_id = Text()
    id = Text(primary_key=True)
    endpoint_id = Text()
    event_id = Text()
    type = Text()
    state = Text()
    attempts = SmallInt()
    last_status = SmallInt(null=True)
    last_error = Text(null=True)
    finished_at = Timestamptz()


class Attempts(Table, tablename="attempts"):
    tenant_id = Text()
    delivery_id = Text(primary_key=True)
    number = SmallInt()
    id = Text()
    status = SmallInt(null=True)
    error = Text(null=True)
    duration_ms = Integer()
    detail = Bytea()


class PolledEvents(Table, tablename="polled_events"):
    """What endpoints that are polled are to get (migration 10). Partitioned as `events` are; `xid` is of type xid8."""

    tenant_id = Text()
    endpoint_id = Text()
    id = Text(primary_key=True)
    xid = BigInt()
