"""What Piccolo's own machinery looks up. `migrate` sets the engine before it asks Piccolo for anything."""

from piccolo.conf.apps import AppRegistry
from piccolo.engine.postgres import PostgresEngine

DB: PostgresEngine

APP_REGISTRY = AppRegistry(apps=["penguin_hub.piccolo_app"])


def use(url: str) -> PostgresEngine:
    """Bind Piccolo to one database for the life of this process."""
    global DB  # noqa: PLW0603 -- the name and place are Piccolo's convention
    DB = PostgresEngine(config={"dsn": url}, extensions=())
    return DB
