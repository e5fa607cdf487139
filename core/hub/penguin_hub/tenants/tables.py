"""The schema as Piccolo sees it."""

from piccolo.columns import JSONB, BigInt, Bytea, Text, Timestamptz
from piccolo.table import Table


class Tenants(Table, tablename="tenants"):
    id = Text(primary_key=True)
    name = Text()
    plan = Text()
    status = Text(default="active")
    settings = JSONB()
    version = BigInt(default=1)
    created_at = Timestamptz()


class Workspaces(Table, tablename="workspaces"):
    tenant_id = Text()
    id = Text(primary_key=True)
    name = Text()
    created_at = Timestamptz()


class Users(Table, tablename="users"):
    tenant_id = Text()
    id = Text(primary_key=True)
    email = Text()
    email_key = Text()
    role = Text()
    password_hash = Text(secret=True)
    created_at = Timestamptz()


class Sessions(Table, tablename="sessions"):
    tenant_id = Text()
    id = Text(primary_key=True)
    user_id = Text()
    token_hash = Bytea(secret=True)
    created_at = Timestamptz()
    expires_at = Timestamptz()
