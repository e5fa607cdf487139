"""The schema as Piccolo sees it."""

from piccolo.columns import JSONB, Text, Timestamptz
from piccolo.table import Table


class AuditLog(Table, tablename="audit_log"):
    tenant_id = Text()
    id = Text(primary_key=True)
    at = Timestamptz()
    actor = Text()
    action = Text()
    target = Text(null=True, default=None)
    detail = JSONB()
    ip = Text(null=True, default=None)
