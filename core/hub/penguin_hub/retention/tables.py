"""The table of retention (migration 11)."""

from piccolo.columns import Date, SmallInt, Text
from piccolo.table import Table


class Retention(Table, tablename="retention"):
    tenant_id = Text(primary_key=True)
    days = SmallInt(null=True)
    purged = Date(null=True)
