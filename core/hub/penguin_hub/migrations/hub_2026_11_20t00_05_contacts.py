"""Contacts."""

from penguin_hub.platform.schema import migration, tenant_table

ID = "2026-11-20T00:05:00:contacts"


def script() -> str:
    return """
        CREATE TABLE contacts (
            tenant_id     text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            id            text COLLATE "C" NOT NULL,
            workspace_id  text COLLATE "C" NOT NULL,
            email         text NOT NULL,
            -- The address as it is compared: lower case, the domain in its ASCII form.
            email_key     text COLLATE "C" NOT NULL,
            first_name    text,
            last_name     text,
            tags          text[] NOT NULL DEFAULT '{}',
            attributes    jsonb NOT NULL DEFAULT '{}',
            version       integer NOT NULL DEFAULT 1,
            created_at    timestamptz NOT NULL DEFAULT now(),
            updated_at    timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, id),
            UNIQUE (tenant_id, email_key),
            FOREIGN KEY (tenant_id, workspace_id) REFERENCES workspaces
        );
        CREATE INDEX contacts_by_created ON contacts (tenant_id, created_at, id);
        CREATE INDEX contacts_by_updated ON contacts (tenant_id, updated_at, id);
        CREATE INDEX contacts_by_tag ON contacts USING gin (tags);
        """ + tenant_table("contacts")


forwards = migration(ID, script)
