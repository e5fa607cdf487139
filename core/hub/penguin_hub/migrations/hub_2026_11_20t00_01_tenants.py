"""Tenants and their workspaces, users and sessions."""

from penguin_hub.platform.schema import migration, tenant_table

ID = "2026-11-20T00:01:00:tenants"


def script() -> str:
    return (
        """
        CREATE TABLE tenants (
            id          text COLLATE "C" PRIMARY KEY,
            name        text NOT NULL,
            plan        text NOT NULL CHECK (plan IN ('starter', 'pro', 'enterprise')),
            status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
            settings    jsonb NOT NULL DEFAULT '{}',
            created_at  timestamptz NOT NULL DEFAULT now()
        );
        CREATE TABLE workspaces (
            tenant_id   text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            id          text COLLATE "C" NOT NULL,
            name        text NOT NULL,
            created_at  timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, id)
        );
        CREATE TABLE users (
            tenant_id      text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            id             text COLLATE "C" NOT NULL,
            email          text NOT NULL,
            role           text NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
            password_hash  text NOT NULL,
            created_at     timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, id),
            UNIQUE (tenant_id, email)
        );
        CREATE TABLE sessions (
            tenant_id   text COLLATE "C" NOT NULL,
            id          text COLLATE "C" NOT NULL,
            user_id     text COLLATE "C" NOT NULL,
            token_hash  bytea NOT NULL,
            created_at  timestamptz NOT NULL DEFAULT now(),
            expires_at  timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, id),
            FOREIGN KEY (tenant_id, user_id) REFERENCES users ON DELETE CASCADE
        );
        -- Looked up before the tenant is known (the token is the whole credential), hence not unique across tenants.
        CREATE INDEX sessions_by_token ON sessions (token_hash);
        CREATE INDEX users_by_email ON users (email);
        """
        # A tenant is made by the operator or by sign-up, before there is a tenant to be bound to.
        + tenant_table("tenants", app="select, update", system="select, insert, update, delete", column="id")
        + tenant_table("workspaces", system="select, insert")
        + tenant_table("users", system="select, insert")
        + tenant_table("sessions", system="select")
    )


forwards = migration(ID, script)
