"""The schema as Piccolo sees it."""

from piccolo.columns import Array, BigInt, Boolean, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table


class ApiKeys(Table, tablename="api_keys"):
    tenant_id = Text()
    id = Text(primary_key=True)
    name = Text()
    environment = Text()
    scopes = Array(base_column=Text())
    admin = Boolean(default=False)
    key_hmac = Bytea(secret=True)
    pepper_id = Text()
    last4 = Text()
    allowed_ips = Array(base_column=Text())
    created_by = Text()
    rotated_from = Text(null=True, default=None)
    version = Integer(default=1)
    created_at = Timestamptz()
    expires_at = Timestamptz(null=True, default=None)
    revoked_at = Timestamptz(null=True, default=None)
    last_used_at = Timestamptz(null=True, default=None)
    erased_at = Timestamptz(null=True, default=None)


class KeyUsage(Table, tablename="key_usage"):
    tenant_id = Text()
    key_id = Text(primary_key=True)
    hour = Timestamptz()
    requests = BigInt()
    errors = BigInt()
