"""The catalogue of event types, and endpoints that are polled.

A polled endpoint's events stand in `polled_events`, written in the publisher's transaction with the number of that
transaction: a reader goes by what was committed and not by ids, which are made before the commit (decision 9). One
insert for an event and a polled endpoint, never changed, dropped by days with the events themselves.
"""

from penguin_hub.platform.schema import migration, tenant_table

ID = "2026-11-20T00:10:00:event_types"

_TABLES = "('events', 'deliveries', 'attempts', 'polled_events')"


def script() -> str:
    return (
        """
        CREATE TABLE event_types (
            tenant_id    text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            name         text COLLATE "C" NOT NULL,
            description  text NOT NULL,
            schema       text NOT NULL,
            example      text NOT NULL,
            version      integer NOT NULL DEFAULT 1,
            created_at   timestamptz NOT NULL DEFAULT now(),
            updated_at   timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, name)
        );

        -- Counts every change of a tenant's types: publishers keep them in memory and ask only for this.
        CREATE TABLE event_type_sets (
            tenant_id  text COLLATE "C" PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
            version    bigint NOT NULL
        );

        ALTER TABLE webhooks DROP CONSTRAINT webhooks_check;
        ALTER TABLE webhooks ADD COLUMN mode text NOT NULL DEFAULT 'push' CHECK (mode IN ('push', 'poll'));
        ALTER TABLE webhooks ADD CONSTRAINT webhooks_target
            CHECK (num_nonnulls(url, connection_id) = CASE mode WHEN 'push' THEN 1 ELSE 0 END);

        CREATE TABLE polled_events (
            tenant_id    text COLLATE "C" NOT NULL,
            endpoint_id  text COLLATE "C" NOT NULL,
            id           text COLLATE "C" NOT NULL,
            xid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
            PRIMARY KEY (tenant_id, endpoint_id, xid, id)
        ) PARTITION BY RANGE (id);
        CREATE TABLE polled_events_default PARTITION OF polled_events DEFAULT;
        ALTER TABLE polled_events_default ENABLE ROW LEVEL SECURITY;
        ALTER TABLE polled_events_default FORCE ROW LEVEL SECURITY;
        """
        + tenant_table("event_types")
        + tenant_table("event_type_sets", app="select, insert, update")
        + tenant_table("polled_events", app="select, insert", system="select, insert, delete")
        + f"""
        -- The functions of migration 7 learn the name of one more table.
        DO $$
        DECLARE
            name text;
        BEGIN
            FOREACH name IN ARRAY ARRAY['hub_partition_make(text, text, text, text)', 'hub_partition_drop(text, text)']
            LOOP
                EXECUTE replace(pg_get_functiondef(name::regprocedure), '(''events'', ''deliveries'', ''attempts'')',
                    $names${_TABLES}$names$);
            END LOOP;
        END $$;
        """
    )


forwards = migration(ID, script)
