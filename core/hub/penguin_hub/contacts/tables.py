"""The schema as Piccolo sees it."""

from piccolo.columns import JSONB, Array, Integer, Text, Timestamptz
from piccolo.table import Table


class Contacts(Table, tablename="contacts"):
    tenant_id = Text()
    id = Text(primary_key=True)
    workspace_id = Text()
    email = Text()
    email_key = Text()
    first_name = Text(null=True, default=None)
    last_name = Text(null=True, default=None)
    tags = Array(base_column=Text())
    attributes = JSONB()
    version = Integer(default=1)
    created_at = Timestamptz()
    updated_at = Timestamptz()
