"""The marketplace: what there is to install, for people who choose. Mounted beside the hub through an entry point.

`app` is what the entry point names.
"""

from penguin_hub.plugins.apps import App

from penguin_hub_marketplace.routes import routes

__all__ = ["app"]

app = App("marketplace", tuple(routes))
