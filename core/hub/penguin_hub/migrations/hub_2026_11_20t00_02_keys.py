"""API keys, their usage, and the audit log."""

from penguin_hub.platform.schema import migration, tenant_table

ID = "2026-11-20T00:02:00:keys"


def script() -> str:
    return (
        """
        CREATE TABLE api_keys (
            tenant_id        text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            id               text COLLATE "C" NOT NULL,
            name             text NOT NULL,
            environment      text NOT NULL CHECK (environment IN ('live', 'test')),
            scopes           text[] NOT NULL,
            admin            boolean NOT NULL DEFAULT false,
            -- HMAC-SHA256 of the key under the pepper `pepper_id`, which lies in the secret store.
            key_hmac         bytea NOT NULL,
            pepper_id        text NOT NULL,
            last4            text NOT NULL,
            allowed_ips      text[] NOT NULL DEFAULT '{}',
            created_by       text COLLATE "C" NOT NULL,
            rotated_from     text COLLATE "C",
            version          integer NOT NULL DEFAULT 1,
            created_at       timestamptz NOT NULL DEFAULT now(),
            expires_at       timestamptz,
            revoked_at       timestamptz,
            last_used_at     timestamptz,
            -- When its bcrypt hash was taken out of the secret store.
            erased_at        timestamptz,
            PRIMARY KEY (tenant_id, id),
            UNIQUE (tenant_id, key_hmac)
        );
        -- Looked up before the tenant is known, hence not unique across tenants.
        CREATE INDEX api_keys_by_hmac ON api_keys (key_hmac);
        CREATE INDEX api_keys_by_created ON api_keys (tenant_id, created_at, id);
        CREATE INDEX api_keys_to_erase ON api_keys (least(revoked_at, expires_at)) WHERE erased_at IS NULL;

        CREATE TABLE key_usage (
            tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            key_id     text COLLATE "C" NOT NULL,
            hour       timestamptz NOT NULL,
            requests   bigint NOT NULL,
            errors     bigint NOT NULL,
            PRIMARY KEY (tenant_id, key_id, hour)
        );
        CREATE INDEX key_usage_by_hour ON key_usage (hour);

        CREATE TABLE audit_log (
            tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            id         text COLLATE "C" NOT NULL,
            at         timestamptz NOT NULL,
            actor      text COLLATE "C" NOT NULL,
            action     text COLLATE "C" NOT NULL,
            target     text COLLATE "C",
            detail     jsonb NOT NULL DEFAULT '{}',
            ip         text,
            PRIMARY KEY (tenant_id, id)
        );
        CREATE INDEX audit_log_by_time ON audit_log (tenant_id, at, id);
        """
        + tenant_table("api_keys", app="select, insert, update", system="select, update (last_used_at, erased_at)")
        + tenant_table("key_usage", app="select", system="select, insert, update, delete")
        # Nobody who serves requests may change or remove what was written.
        + tenant_table("audit_log", app="select, insert", system="insert")
    )


forwards = migration(ID, script)
