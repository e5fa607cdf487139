"""The schema as Piccolo sees it."""

from piccolo.columns import JSONB, Array, Boolean, Bytea, Integer, SmallInt, Text, Timestamptz
from piccolo.table import Table


class Emails(Table, tablename="emails"):
    tenant_id = Text()
    id = Text(primary_key=True)
    workspace_id = Text()
    connection_id = Text()
    plugin = Text(null=True, default=None)
    status = Text()
    stream = Text()
    test = Boolean()
    message_id = Text()
    sender = Text()
    sender_name = Text(null=True, default=None)
    subject = Text()
    tags = Array(base_column=Text())
    metadata = JSONB()
    created_at = Timestamptz()


class EmailContents(Table, tablename="email_contents"):
    tenant_id = Text()
    email_id = Text(primary_key=True)
    content = Bytea()


class EmailRecipients(Table, tablename="email_recipients"):
    tenant_id = Text()
    email_id = Text()
    position = SmallInt(primary_key=True)
    kind = Text()
    email = Text()
    email_key = Text()
    name = Text(null=True, default=None)
    status = Text()


class EmailTags(Table, tablename="email_tags"):
    tenant_id = Text()
    tag = Text()
    email_id = Text(primary_key=True)


class EmailEvents(Table, tablename="email_events"):
    tenant_id = Text()
    email_id = Text()
    key = Text(primary_key=True)
    type = Text()
    raw_type = Text(null=True, default=None)
    recipient = Text(null=True, default=None)
    detail = JSONB()
    at = Timestamptz()
    created_at = Timestamptz()


class EmailReceipts(Table, tablename="email_receipts"):
    tenant_id = Text()
    connection_id = Text()
    provider_id = Text()
    email_id = Text(primary_key=True)


class EmailQueue(Table, tablename="email_queue"):
    tenant_id = Text()
    email_id = Text(primary_key=True)
    connection_id = Text()
    due_at = Timestamptz()
    lease = Text(null=True, default=None)
    attempts = SmallInt()
    size = Integer()


class EmailSchedule(Table, tablename="email_schedule"):
    tenant_id = Text()
    email_id = Text()
    key = Text(primary_key=True)
    connection_id = Text()
    due_at = Timestamptz()
    event = Bytea()


class EmailUnmatched(Table, tablename="email_unmatched"):
    tenant_id = Text()
    connection_id = Text()
    message = Text()
    key = Text(primary_key=True)
    event = Bytea()
    created_at = Timestamptz()
