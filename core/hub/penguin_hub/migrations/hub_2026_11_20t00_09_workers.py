"""Which worker processes there are. No tenant's data: only the relay role sees it."""

from penguin_hub.platform.schema import migration

ID = "2026-11-20T00:09:00:workers"


def script() -> str:
    return """
        CREATE TABLE workers (
            number      integer PRIMARY KEY,
            started_at  timestamptz NOT NULL DEFAULT now()
        );
        GRANT SELECT, INSERT, DELETE ON workers TO "{system}";
    """


forwards = migration(ID, script)
