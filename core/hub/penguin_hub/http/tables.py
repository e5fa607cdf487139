"""The schema as Piccolo sees it."""

from piccolo.columns import Bytea, SmallInt, Text, Timestamptz
from piccolo.table import Table


class IdempotencyKeys(Table, tablename="idempotency_keys"):
    tenant_id = Text()
    key_hash = Bytea(primary_key=True)
    fingerprint = Bytea()
    status = SmallInt()
    answer = Bytea()
    expires_at = Timestamptz()
