"""Applications that are mounted beside the hub's own features: routes that another distribution brings.

    [project.entry-points."penguin_hub.apps"]
    marketplace = "penguin_hub_marketplace:app"

The value is an `App`. Its handlers get the hub's services by name, as the hub's own do, and live under `/api/v1`.
"""

from importlib.metadata import entry_points
from typing import Any, Final

import msgspec
import structlog

log = structlog.get_logger(__name__)

ENTRY_POINTS: Final = "penguin_hub.apps"


class App(msgspec.Struct, frozen=True):
    """What is mounted."""

    name: str
    routes: tuple[Any, ...]
    """Litestar route handlers."""


def load_apps() -> list[App]:
    """Every installed application, by name; one that cannot be loaded is logged and left out."""
    found = []
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, entry.value)):
        try:
            app = entry.load()
            if not isinstance(app, App):
                raise TypeError(f"{entry.value} is a {type(app).__name__}, not an App")
        except Exception as error:
            log.error("app_failed", app=entry.name, exc_info=error)
            continue
        found.append(app)
    return found
