"""`/plugins`: what is installed beside this hub."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import Parameter

from penguin_hub.http.guards import any_key
from penguin_hub.plugins.schemas import PluginList, PluginView
from penguin_hub.plugins.service import PluginsService

TAGS = ["Plugins"]

PluginId = Annotated[str, Parameter(description="A plugin's id, such as `mailer`.", max_length=64)]


@get("/plugins", guards=[any_key], tags=TAGS, operation_id="listPlugins", summary="List plugins")
async def list_plugins(plugins: NamedDependency[PluginsService]) -> PluginList:
    """Every plugin that is installed, with the JSON Schema of its configuration; also those that failed to load."""
    return PluginList([plugin.view() for plugin in plugins.all()])


@get("/plugins/{plugin_id:str}", guards=[any_key], tags=TAGS, operation_id="getPlugin", summary="Get a plugin")
async def get_plugin(plugin_id: PluginId, plugins: NamedDependency[PluginsService]) -> PluginView:
    """One plugin."""
    return plugins.get(plugin_id).view()


routes = [list_plugins, get_plugin]
