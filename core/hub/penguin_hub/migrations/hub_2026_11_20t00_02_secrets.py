"""The embedded secret store: data keys, heads and versions."""

from penguin_hub.platform.schema import migration, tenant_table

ID = "2026-11-20T00:02:00:secrets"


def _system_rows(table: str) -> str:
    """The hub's own secrets, under the tenant `system`, which no tenant's transaction can be bound to."""
    return f"""
        CREATE POLICY relay ON {table} FOR ALL TO "{{system}}"
            USING (tenant_id = 'system') WITH CHECK (tenant_id = 'system');
        GRANT select, insert, update, delete ON {table} TO "{{system}}";
    """


def script() -> str:
    return (
        """
        CREATE TABLE secret_keys (
            tenant_id   text COLLATE "C" NOT NULL,
            id          text COLLATE "C" NOT NULL,
            kek_id      text COLLATE "C" NOT NULL,
            nonce       bytea NOT NULL CHECK (octet_length(nonce) = 12),
            wrapped     bytea NOT NULL,
            active      boolean NOT NULL,
            messages    bigint NOT NULL DEFAULT 0,
            created_at  timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, id)
        );
        CREATE UNIQUE INDEX secret_keys_active ON secret_keys (tenant_id) WHERE active;
        CREATE INDEX secret_keys_by_kek ON secret_keys (kek_id);
        CREATE TABLE secret_paths (
            tenant_id        text COLLATE "C" NOT NULL,
            path             text COLLATE "C" NOT NULL,
            current_version  integer NOT NULL CHECK (current_version > 0),
            key_id           text COLLATE "C" NOT NULL,
            nonce            bytea NOT NULL,
            seal             bytea NOT NULL,
            PRIMARY KEY (tenant_id, path),
            FOREIGN KEY (tenant_id, key_id) REFERENCES secret_keys
        );
        CREATE INDEX secret_paths_by_key ON secret_paths (tenant_id, key_id);
        CREATE TABLE secrets (
            tenant_id   text COLLATE "C" NOT NULL,
            path        text COLLATE "C" NOT NULL,
            version     integer NOT NULL CHECK (version > 0),
            key_id      text COLLATE "C",
            nonce       bytea,
            ciphertext  bytea,
            created_at  timestamptz NOT NULL DEFAULT now(),
            deleted_at  timestamptz,
            PRIMARY KEY (tenant_id, path, version),
            FOREIGN KEY (tenant_id, path) REFERENCES secret_paths ON DELETE CASCADE,
            FOREIGN KEY (tenant_id, key_id) REFERENCES secret_keys,
            CHECK (num_nulls(key_id, nonce, ciphertext) IN (0, 3))
        );
        CREATE INDEX secrets_by_key ON secrets (tenant_id, key_id);
        """
        # The relay role rewraps every tenant's data keys; wrapped, they tell it nothing.
        + tenant_table("secret_keys", system="select, insert, update, delete")
        + tenant_table("secret_paths")
        + _system_rows("secret_paths")
        + tenant_table("secrets")
        + _system_rows("secrets")
    )


forwards = migration(ID, script)
