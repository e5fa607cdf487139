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
            -- Rises, in the same transaction, with every change to what a credential of the tenant may do: a key's
            -- revocation, the tenant's suspension, its plan. Whoever remembers a credential remembers this beside it.
            version     bigint NOT NULL DEFAULT 1,
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
            -- The address as it is compared: lower case, the domain in its ASCII form.
            email_key      text COLLATE "C" NOT NULL,
            role           text NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
            password_hash  text NOT NULL,
            created_at     timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, id),
            UNIQUE (tenant_id, email_key)
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
        CREATE INDEX sessions_by_user ON sessions (tenant_id, user_id);
        CREATE INDEX sessions_by_expiry ON sessions (expires_at);
        -- Looked up before the tenant is known (the token is the whole credential), hence not unique across tenants.
        CREATE INDEX sessions_by_token ON sessions (token_hash);
        CREATE INDEX users_by_email ON users (email_key);
        """
        # A tenant is made by the operator or by sign-up, before there is a tenant to be bound to.
        + tenant_table("tenants", app="select, update", system="select, insert, update", column="id")
        + tenant_table("workspaces", system="select, insert")
        + tenant_table("users", system="select, insert")
        + tenant_table("sessions", system="select, delete")
    )


forwards = migration(ID, script)
