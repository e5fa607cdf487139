"""Messages, their queue, their timeline; suppressions; the answers kept for Idempotency-Key."""

from penguin_hub.platform.schema import migration, tenant_table

ID = "2026-11-20T00:06:00:emails"


def script() -> str:
    return (
        """
        -- One row a message. What it says is in email_contents, so that a change of status copies little.
        CREATE TABLE emails (
            tenant_id      text COLLATE "C" NOT NULL,
            id             text COLLATE "C" NOT NULL,
            workspace_id   text COLLATE "C" NOT NULL,
            connection_id  text COLLATE "C" NOT NULL,
            -- The connection's plugin, known from the first attempt on.
            plugin         text,
            status         text NOT NULL,
            stream         text NOT NULL CHECK (stream IN ('transactional', 'marketing')),
            test           boolean NOT NULL,
            -- RFC 5322 Message-ID without angle brackets: the same on every attempt.
            message_id     text NOT NULL,
            sender         text NOT NULL,
            sender_name    text,
            subject        text NOT NULL,
            tags           text[] NOT NULL,
            metadata       jsonb NOT NULL,
            -- Equal to the moment in the id, so that the order of ids is the order of time.
            created_at     timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, id)
        ) WITH (fillfactor = 85);
        CREATE INDEX emails_by_status ON emails (tenant_id, status, id);
        CREATE INDEX emails_by_connection ON emails (tenant_id, connection_id, id);

        CREATE TABLE email_contents (
            tenant_id  text COLLATE "C" NOT NULL,
            email_id   text COLLATE "C" NOT NULL,
            -- MessagePack of emails.content.Content.
            content    bytea NOT NULL,
            PRIMARY KEY (tenant_id, email_id)
        );

        CREATE TABLE email_recipients (
            tenant_id    text COLLATE "C" NOT NULL,
            email_id     text COLLATE "C" NOT NULL,
            position     smallint NOT NULL,
            kind         text NOT NULL CHECK (kind IN ('to', 'cc', 'bcc')),
            email        text NOT NULL,
            -- The address as it is compared.
            email_key    text COLLATE "C" NOT NULL,
            name         text,
            status       text NOT NULL,
            PRIMARY KEY (tenant_id, email_id, position)
        ) WITH (fillfactor = 85);
        CREATE INDEX email_recipients_by_address ON email_recipients (tenant_id, email_key, email_id);

        CREATE TABLE email_tags (
            tenant_id  text COLLATE "C" NOT NULL,
            tag        text COLLATE "C" NOT NULL,
            email_id   text COLLATE "C" NOT NULL,
            PRIMARY KEY (tenant_id, tag, email_id)
        );

        -- The timeline. The key makes a repeated report of one event one row.
        CREATE TABLE email_events (
            tenant_id   text COLLATE "C" NOT NULL,
            email_id    text COLLATE "C" NOT NULL,
            key         text COLLATE "C" NOT NULL,
            type        text NOT NULL,
            raw_type    text,
            recipient   text,
            detail      jsonb NOT NULL DEFAULT '{}',
            at          timestamptz NOT NULL,
            created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (tenant_id, email_id, key)
        );

        -- The providers' ids of our messages: more than one where recipients were tried again by themselves.
        CREATE TABLE email_receipts (
            tenant_id      text COLLATE "C" NOT NULL,
            connection_id  text COLLATE "C" NOT NULL,
            provider_id    text COLLATE "C" NOT NULL,
            email_id       text COLLATE "C" NOT NULL,
            PRIMARY KEY (tenant_id, connection_id, provider_id, email_id)
        );

        -- What waits to be handed to a provider. A row that is being worked on is one whose due time lies ahead and that
        -- has a lease: when its worker dies it becomes due again by itself.
        CREATE TABLE email_queue (
            tenant_id      text COLLATE "C" NOT NULL,
            email_id       text COLLATE "C" NOT NULL,
            connection_id  text COLLATE "C" NOT NULL,
            due_at         timestamptz NOT NULL,
            lease          text,
            attempts       smallint NOT NULL DEFAULT 0,
            size           integer NOT NULL,
            PRIMARY KEY (tenant_id, email_id)
        ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
        CREATE INDEX email_queue_by_connection ON email_queue (connection_id, due_at);

        -- Events that a receipt announced for a moment to come.
        CREATE TABLE email_schedule (
            tenant_id      text COLLATE "C" NOT NULL,
            email_id       text COLLATE "C" NOT NULL,
            key            text COLLATE "C" NOT NULL,
            connection_id  text COLLATE "C" NOT NULL,
            due_at         timestamptz NOT NULL,
            -- MessagePack of penguin_hub_sdk.events.ProviderEvent.
            event          bytea NOT NULL,
            PRIMARY KEY (tenant_id, email_id, key)
        );
        CREATE INDEX email_schedule_by_due ON email_schedule (due_at);

        -- Reports on messages that we do not know (yet: a report may overtake the receipt).
        CREATE TABLE email_unmatched (
            tenant_id      text COLLATE "C" NOT NULL,
            connection_id  text COLLATE "C" NOT NULL,
            message        text COLLATE "C" NOT NULL,
            key            text COLLATE "C" NOT NULL,
            event          bytea NOT NULL,
            created_at     timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, connection_id, message, key)
        );
        CREATE INDEX email_unmatched_by_created ON email_unmatched (created_at);

        CREATE TABLE suppressions (
            tenant_id   text COLLATE "C" NOT NULL REFERENCES tenants ON DELETE CASCADE,
            id          text COLLATE "C" NOT NULL,
            -- Test keys have a list of their own: a simulated bounce must not stop real mail.
            test        boolean NOT NULL,
            email       text NOT NULL,
            email_key   text COLLATE "C" NOT NULL,
            stream      text NOT NULL CHECK (stream IN ('all', 'marketing')),
            reason      text NOT NULL CHECK (reason IN ('hard_bounce', 'complaint', 'unsubscribe', 'manual')),
            -- Who or what said so: a key, a user, a connection.
            source      text NOT NULL,
            created_at  timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, id),
            UNIQUE (tenant_id, test, email_key, stream)
        );

        -- The answers of requests that carried an Idempotency-Key, written in the transaction of their effect.
        CREATE TABLE idempotency_keys (
            tenant_id    text COLLATE "C" NOT NULL,
            key_hash     bytea NOT NULL,
            fingerprint  bytea NOT NULL,
            status       smallint NOT NULL,
            -- Sealed (AES-256-GCM): an answer may hold a secret that is shown once.
            answer       bytea NOT NULL,
            expires_at   timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, key_hash)
        );
        CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
        """
        + tenant_table("emails")
        + tenant_table("email_contents", app="select, insert, delete")
        + tenant_table("email_recipients")
        + tenant_table("email_tags", app="select, insert, delete")
        + tenant_table("email_events", app="select, insert, delete")
        + tenant_table("email_receipts", app="select, insert, delete", system="select")
        + tenant_table("email_queue", system="select, update")
        + tenant_table("email_schedule", system="select")
        + tenant_table("email_unmatched", system="select, delete")
        + tenant_table("suppressions")
        + tenant_table("idempotency_keys", system="select, delete")
    )


forwards = migration(ID, script)
