"""Requests that providers sent us, kept as they came."""

from penguin_hub.platform.schema import migration, tenant_table

ID = "2026-11-20T00:08:00:inbound"


def script() -> str:
    return """
        CREATE TABLE inbound_requests (
            tenant_id      text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            id             text COLLATE "C" NOT NULL,
            connection_id  text COLLATE "C" NOT NULL,
            plugin         text NOT NULL,
            key            bytea NOT NULL,
            method         text NOT NULL,
            url            text NOT NULL,
            headers        jsonb NOT NULL,
            body           bytea NOT NULL,
            received_at    timestamptz NOT NULL,
            state          text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'processed', 'parked')),
            attempts       smallint NOT NULL DEFAULT 0,
            due_at         timestamptz NOT NULL,
            lease_until    timestamptz,
            lease_token    bigint,
            events         text[] NOT NULL DEFAULT '{}',
            error          text,
            processed_at   timestamptz,
            PRIMARY KEY (tenant_id, id),
            UNIQUE (tenant_id, connection_id, key)
        ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
        CREATE INDEX inbound_requests_due ON inbound_requests (due_at) WHERE state = 'pending';
        CREATE INDEX inbound_requests_parked ON inbound_requests (tenant_id, id) WHERE state = 'parked';
        """ + tenant_table("inbound_requests", app="select, update", system="select, insert, update, delete")


forwards = migration(ID, script)
