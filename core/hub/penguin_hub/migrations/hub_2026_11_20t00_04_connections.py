"""Connections: a tenant's configured plugins, their checks and what their connectors remember."""

from penguin_hub.platform.schema import migration, tenant_table

ID = "2026-11-20T00:04:00:connections"


def script() -> str:
    return (
        """
        CREATE TABLE connections (
            tenant_id         text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            id                text COLLATE "C" NOT NULL,
            workspace_id      text COLLATE "C" NOT NULL,
            plugin            text COLLATE "C" NOT NULL,
            name              text NOT NULL,
            -- The part of the configuration that is no secret. The secrets lie in the secret store at
            -- `connections/{id}`; `secret_version` says which version of them belongs to this row, 0 is none.
            config            jsonb NOT NULL,
            secrets           text[] NOT NULL DEFAULT '{}',
            secret_version    integer NOT NULL DEFAULT 0,
            -- What was in force before, for as long as the provider may still sign its requests with it.
            previous          jsonb,
            previous_until    timestamptz,
            status            text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'error', 'maintenance', 'disabled')),
            -- What is wrong, as the API shows it; NULL when nothing is.
            error             jsonb,
            error_at          timestamptz,
            streams           text[] NOT NULL DEFAULT '{transactional,marketing}',
            -- The lowest number is chosen first.
            priority          integer NOT NULL DEFAULT 100,
            -- The tenant's own connection to the plugin that carries what test keys send.
            built_in          boolean NOT NULL DEFAULT false,
            checked_at        timestamptz,
            check_ok          boolean,
            check_ms          integer,
            next_check_at     timestamptz NOT NULL,
            version           integer NOT NULL DEFAULT 1,
            created_at        timestamptz NOT NULL DEFAULT now(),
            updated_at        timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, id),
            FOREIGN KEY (tenant_id, workspace_id) REFERENCES workspaces
        );
        CREATE UNIQUE INDEX connections_built_in ON connections (tenant_id) WHERE built_in;
        CREATE INDEX connections_by_created ON connections (tenant_id, created_at, id);
        CREATE INDEX connections_by_choice ON connections (tenant_id, priority, id) WHERE status = 'active';
        CREATE INDEX connections_by_previous ON connections (previous_until) WHERE previous_until IS NOT NULL;
        -- A provider's request names the connection before the tenant is known.
        CREATE INDEX connections_by_id ON connections (id);
        CREATE INDEX connections_by_check ON connections (next_check_at) WHERE status <> 'disabled' AND NOT built_in;

        CREATE TABLE connection_checks (
            tenant_id      text COLLATE "C" NOT NULL,
            id             text COLLATE "C" NOT NULL,
            connection_id  text COLLATE "C" NOT NULL,
            at             timestamptz NOT NULL,
            ok             boolean NOT NULL,
            response_ms    integer NOT NULL,
            error          jsonb,
            PRIMARY KEY (tenant_id, id),
            FOREIGN KEY (tenant_id, connection_id) REFERENCES connections ON DELETE CASCADE
        );
        CREATE INDEX connection_checks_by_connection ON connection_checks (tenant_id, connection_id, at, id);
        CREATE INDEX connection_checks_by_time ON connection_checks (at);

        CREATE TABLE connection_state (
            tenant_id      text COLLATE "C" NOT NULL,
            connection_id  text COLLATE "C" NOT NULL,
            key            text COLLATE "C" NOT NULL,
            value          text NOT NULL,
            PRIMARY KEY (tenant_id, connection_id, key),
            FOREIGN KEY (tenant_id, connection_id) REFERENCES connections ON DELETE CASCADE
        );

        -- Secrets that are written and not yet named by a row, or no longer: what a crash leaves here is erased.
        CREATE TABLE connection_leftovers (
            tenant_id      text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            connection_id  text COLLATE "C" NOT NULL,
            due_at         timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, connection_id)
        );
        CREATE INDEX connection_leftovers_by_due ON connection_leftovers (due_at);
        """
        + tenant_table("connections", system="select, update (next_check_at)")
        + tenant_table("connection_checks", system="select, delete")
        + tenant_table("connection_state")
        + tenant_table("connection_leftovers", system="select, update (due_at)")
    )


forwards = migration(ID, script)
