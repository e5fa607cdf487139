"""The schema as Piccolo sees it."""

from piccolo.columns import Boolean, Text, Timestamptz
from piccolo.table import Table


class Suppressions(Table, tablename="suppressions"):
    tenant_id = Text()
    id = Text(primary_key=True)
    test = Boolean()
    email = Text()
    email_key = Text()
    stream = Text()
    reason = Text()
    source = Text()
    created_at = Timestamptz()
