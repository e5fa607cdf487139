"""Events, the queue of deliveries, and their log; endpoints with their health.

The hot path writes as little as it can. A publish inserts one row of `events` and, for each endpoint, one of
`delivery_queue`; a finished delivery leaves the queue and enters the log, `deliveries`, which is insert-only. The
leases are columns without an index, so that a claim is a heap-only update. The three big tables are partitioned by the
UTC day written into their ids; a delivery's id is made from its event's, so all that belongs to a day goes with it.
"""

from penguin_hub.platform.schema import migration, tenant_table

ID = "2026-11-20T00:07:00:events"

# Each takes the lowest ids of a day and of the next. The definer owns the tables; the callers may only make and drop
# whole days of these three, so the names are checked against the catalogue and never taken as SQL.
_PARTITIONS = """
    CREATE FUNCTION hub_partition_make(parent text, day text, low text, high text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        part text := parent || '_' || day;
    BEGIN
        IF parent NOT IN ('events', 'deliveries', 'attempts') OR day !~ '^[0-9]{8}$'
            OR low !~ '^[a-z]{3}_[0-9a-v]{26}$' OR high !~ '^[a-z]{3}_[0-9a-v]{26}$' THEN
            RAISE EXCEPTION 'not a partition of ours';
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('penguin-hub partitions'));
        IF to_regclass(part) IS NOT NULL THEN
            RETURN false;
        END IF;
        -- Rows that came before their day had a partition wait in the default one; they move.
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', parent || '_default');
        EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %I >= %L AND %I < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
            parent || '_default', CASE parent WHEN 'attempts' THEN 'delivery_id' ELSE 'id' END, low,
            CASE parent WHEN 'attempts' THEN 'delivery_id' ELSE 'id' END, high, part);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', parent || '_default');
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, low, high);
        RETURN true;
    END $$;

    CREATE FUNCTION hub_partition_drop(parent text, day text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        IF parent NOT IN ('events', 'deliveries', 'attempts') OR day !~ '^[0-9]{8}$' THEN
            RAISE EXCEPTION 'not a partition of ours';
        END IF;
        IF to_regclass(parent || '_' || day) IS NULL THEN
            RETURN false;
        END IF;
        EXECUTE format('DROP TABLE %I', parent || '_' || day);
        RETURN true;
    END $$;

    REVOKE ALL ON FUNCTION hub_partition_make(text, text, text, text) FROM PUBLIC;
    REVOKE ALL ON FUNCTION hub_partition_drop(text, text) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION hub_partition_make(text, text, text, text) TO "{system}";
    GRANT EXECUTE ON FUNCTION hub_partition_drop(text, text) TO "{system}";
"""


def script() -> str:
    return (
        """
        CREATE TABLE webhooks (
            tenant_id        text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            id               text COLLATE "C" NOT NULL,
            url              text,
            connection_id    text COLLATE "C",
            events           text[] NOT NULL,
            description      text NOT NULL DEFAULT '',
            filter           jsonb NOT NULL DEFAULT '{}',
            headers          jsonb NOT NULL DEFAULT '{}',
            secret_headers   text[] NOT NULL DEFAULT '{}',
            retry            float8[] NOT NULL,
            rate             float8,
            concurrency      smallint NOT NULL,
            enabled          boolean NOT NULL DEFAULT true,
            disabled_reason  text CHECK (disabled_reason IN ('manual', 'gone', 'failing')),
            version          bigint NOT NULL DEFAULT 1,
            secret_version   bigint NOT NULL DEFAULT 0,
            paced_until      timestamptz,
            failing_since    timestamptz,
            last_failed_at   timestamptz,
            warned           smallint NOT NULL DEFAULT 0,
            created_at       timestamptz NOT NULL DEFAULT now(),
            updated_at       timestamptz NOT NULL DEFAULT now(),
            deleted_at       timestamptz,
            PRIMARY KEY (tenant_id, id),
            CHECK (num_nonnulls(url, connection_id) = 1)
        ) WITH (fillfactor = 70);
        -- A delivery's id ends in these characters of its endpoint's (see delivery/naming).
        CREATE UNIQUE INDEX webhooks_by_tail ON webhooks (tenant_id, right(id, 6));

        -- Counts every change of a tenant's endpoints: publishers keep them in memory and ask only for this.
        CREATE TABLE webhook_sets (
            tenant_id  text COLLATE "C" PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
            version    bigint NOT NULL
        );

        CREATE TABLE webhook_stats (
            tenant_id   text COLLATE "C" NOT NULL,
            webhook_id  text COLLATE "C" NOT NULL,
            hour        timestamptz NOT NULL,
            succeeded   bigint NOT NULL DEFAULT 0,
            failed      bigint NOT NULL DEFAULT 0,
            total_ms    bigint NOT NULL DEFAULT 0,
            PRIMARY KEY (tenant_id, webhook_id, hour),
            FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhooks ON DELETE CASCADE
        ) WITH (fillfactor = 70);

        CREATE TABLE webhook_recoveries (
            tenant_id   text COLLATE "C" NOT NULL,
            id          text COLLATE "C" NOT NULL,
            webhook_id  text COLLATE "C" NOT NULL,
            since       timestamptz NOT NULL,
            until       timestamptz NOT NULL,
            reached     text COLLATE "C" NOT NULL DEFAULT '',
            state       text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'cancelled')),
            examined    bigint NOT NULL DEFAULT 0,
            requeued    bigint NOT NULL DEFAULT 0,
            created_at  timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, id),
            FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhooks ON DELETE CASCADE
        );
        CREATE INDEX webhook_recoveries_running ON webhook_recoveries (id) WHERE state = 'running';

        CREATE TABLE events (
            tenant_id     text COLLATE "C" NOT NULL,
            id            text COLLATE "C" NOT NULL,
            workspace_id  text COLLATE "C",
            type          text COLLATE "C" NOT NULL,
            message_id    text COLLATE "C",
            subject       text COLLATE "C",
            tags          text[] NOT NULL DEFAULT '{}',
            test          boolean NOT NULL DEFAULT false,
            body          bytea,
            PRIMARY KEY (tenant_id, id)
        ) PARTITION BY RANGE (id);
        CREATE TABLE events_default PARTITION OF events DEFAULT;

        -- Ids that tenants give to their own events: unique for as long as the row is kept.
        CREATE TABLE event_keys (
            tenant_id   text COLLATE "C" NOT NULL,
            message_id  text COLLATE "C" NOT NULL,
            event_id    text COLLATE "C" NOT NULL,
            PRIMARY KEY (tenant_id, message_id)
        );

        -- lane: 0 first attempts, 1 retries, 2 replays; each is claimed in its turn.
        CREATE TABLE delivery_queue (
            tenant_id    text COLLATE "C" NOT NULL,
            id           text COLLATE "C" NOT NULL,
            endpoint_id  text COLLATE "C" NOT NULL,
            event_id     text COLLATE "C" NOT NULL,
            type         text COLLATE "C" NOT NULL,
            lane         smallint NOT NULL DEFAULT 0,
            attempt      smallint NOT NULL DEFAULT 0,
            series       smallint NOT NULL DEFAULT 0,
            last_status  smallint,
            last_error   text,
            due_at       timestamptz NOT NULL,
            lease_until  timestamptz,
            lease_token  bigint,
            PRIMARY KEY (tenant_id, id)
        ) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
                autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 0,
                autovacuum_analyze_scale_factor = 0.2);
        CREATE INDEX delivery_queue_due ON delivery_queue (endpoint_id, lane, due_at);

        CREATE TABLE deliveries (
            tenant_id    text COLLATE "C" NOT NULL,
            id           text COLLATE "C" NOT NULL,
            endpoint_id  text COLLATE "C" NOT NULL,
            event_id     text COLLATE "C" NOT NULL,
            type         text COLLATE "C" NOT NULL,
            state        text NOT NULL CHECK (state IN ('succeeded', 'failed', 'discarded')),
            attempts     smallint NOT NULL,
            last_status  smallint,
            last_error   text,
            finished_at  timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, id)
        ) PARTITION BY RANGE (id);
        CREATE INDEX deliveries_by_endpoint ON deliveries (tenant_id, endpoint_id, id);
        CREATE INDEX deliveries_unsuccessful ON deliveries (tenant_id, state, id) WHERE state <> 'succeeded';
        CREATE TABLE deliveries_default PARTITION OF deliveries DEFAULT;

        -- detail: MessagePack of headers, cut body and timings (delivery/attempts), which no query looks into.
        CREATE TABLE attempts (
            tenant_id    text COLLATE "C" NOT NULL,
            delivery_id  text COLLATE "C" NOT NULL,
            number       smallint NOT NULL,
            id           text COLLATE "C" NOT NULL,
            status       smallint,
            error        text,
            duration_ms  integer NOT NULL,
            detail       bytea NOT NULL,
            PRIMARY KEY (tenant_id, delivery_id, number)
        ) PARTITION BY RANGE (delivery_id);
        CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

        ALTER TABLE events_default ENABLE ROW LEVEL SECURITY;
        ALTER TABLE events_default FORCE ROW LEVEL SECURITY;
        ALTER TABLE deliveries_default ENABLE ROW LEVEL SECURITY;
        ALTER TABLE deliveries_default FORCE ROW LEVEL SECURITY;
        ALTER TABLE attempts_default ENABLE ROW LEVEL SECURITY;
        ALTER TABLE attempts_default FORCE ROW LEVEL SECURITY;
        """
        + tenant_table("webhooks", system="select, update")
        + tenant_table("webhook_sets", app="select, insert, update", system="select, insert, update")
        + tenant_table("webhook_stats", app="select", system="select, insert, update, delete")
        + tenant_table("webhook_recoveries", app="select, insert, update", system="select, update, delete")
        + tenant_table("events", app="select, insert, update", system="select, insert, update, delete")
        + tenant_table("event_keys", app="select, insert", system="select, insert, delete")
        + tenant_table("delivery_queue", system="select, insert, update, delete")
        + tenant_table("deliveries", app="select, insert, update, delete", system="select, insert, update, delete")
        + tenant_table("attempts", app="select, update, delete", system="select, insert, update, delete")
        + _PARTITIONS
    )


forwards = migration(ID, script)
