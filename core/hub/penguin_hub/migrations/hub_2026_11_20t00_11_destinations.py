"""How endpoints are authenticated to, a second signature, strict order, and how long a tenant's data is kept.

A delivery to an endpoint that wants order has a key and a place. It may go out when no earlier place of its endpoint
and key is left in the queue; the index finds that first one. Places come from a sequence at the insertion and not from
the event's id, so that clocks of several machines do not matter. Rows without order are in neither.
"""

from penguin_hub.platform.schema import migration, tenant_table

ID = "2026-11-20T00:11:00:destinations"


def script() -> str:
    return """
        ALTER TABLE webhooks
            ADD COLUMN auth jsonb,
            ADD COLUMN legacy_signature jsonb,
            ADD COLUMN ordered boolean NOT NULL DEFAULT false;

        CREATE SEQUENCE delivery_places;
        GRANT USAGE ON SEQUENCE delivery_places TO "{app}", "{system}";
        ALTER TABLE delivery_queue
            ADD COLUMN ordering_key text COLLATE "C",
            ADD COLUMN place bigint;
        CREATE INDEX delivery_queue_ordered ON delivery_queue (endpoint_id, ordering_key, place)
            WHERE ordering_key IS NOT NULL;

        -- days: the tenant's own wish, within the plan's. purged: payloads of earlier days (UTC) are gone from the disk.
        CREATE TABLE retention (
            tenant_id  text COLLATE "C" PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
            days       smallint CHECK (days > 0),
            purged     date
        );
        """ + tenant_table("retention", app="select, insert, update", system="select, insert, update")


forwards = migration(ID, script)
