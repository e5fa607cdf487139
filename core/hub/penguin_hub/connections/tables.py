"""The schema as Piccolo sees it."""

from piccolo.columns import JSONB, Array, Boolean, Integer, Text, Timestamptz
from piccolo.table import Table


class Connections(Table, tablename="connections"):
    tenant_id = Text()
    id = Text(primary_key=True)
    workspace_id = Text()
    plugin = Text()
    name = Text()
    config = JSONB()
    secrets = Array(base_column=Text())
    secret_version = Integer(default=0)
    previous = JSONB(null=True, default=None)
    previous_until = Timestamptz(null=True, default=None)
    status = Text(default="active")
    error = JSONB(null=True, default=None)
    error_at = Timestamptz(null=True, default=None)
    streams = Array(base_column=Text())
    priority = Integer(default=100)
    built_in = Boolean(default=False)
    checked_at = Timestamptz(null=True, default=None)
    check_ok = Boolean(null=True, default=None)
    check_ms = Integer(null=True, default=None)
    next_check_at = Timestamptz()
    version = Integer(default=1)
    created_at = Timestamptz()
    updated_at = Timestamptz()


class ConnectionChecks(Table, tablename="connection_checks"):
    tenant_id = Text()
    id = Text(primary_key=True)
    connection_id = Text()
    at = Timestamptz()
    ok = Boolean()
    response_ms = Integer()
    error = JSONB(null=True, default=None)


class ConnectionState(Table, tablename="connection_state"):
    tenant_id = Text()
    connection_id = Text()
    key = Text()
    value = Text()


class ConnectionLeftovers(Table, tablename="connection_leftovers"):
    tenant_id = Text()
    connection_id = Text()
    due_at = Timestamptz()
