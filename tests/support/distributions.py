"""Throw-away distributions: a folder on the path with packages and the metadata an installer would have written."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

MANIFEST = """
id = "{id}"
name = "{name}"
version = "1.2.3"
category = "{category}"
summary = "A plugin made for a test."
"""

HEADER = """
import msgspec
from typing import Annotated
from penguin_hub_sdk import config as configs, errors
from penguin_hub_sdk.config import Config, Secret
from penguin_hub_sdk.connectors import Receipt, Refusal
from penguin_hub_sdk.hooks import Plugin, hookimpl
from penguin_hub_sdk.manifest import Manifest
from penguin_hub_sdk.webhooks import Webhook
"""

CONNECTOR = """
class Settings(Config, frozen=True):
    api_key: Secret
    region: str = "eu"


class Connector:
    def __init__(self, ctx):
        self.ctx = ctx

    async def check(self):
        if self.ctx.config.api_key.reveal() == "wrong":
            raise errors.AuthExpired("The key is refused.", field="api_key")

    async def send(self, message):
        return Receipt("provider-" + message.id)
"""

HOOK = """
@hookimpl
def hub_plugin():
    return Plugin(manifest=Manifest.load(__package__), config=Settings, connect=Connector)
"""

GOOD = HEADER + CONNECTOR + HOOK


class Site:
    """One folder of distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def manifest(plugin_id: str, category: str = "email") -> str:
        """The usual manifest."""
        return MANIFEST.format(id=plugin_id, name=plugin_id.title(), category=category)

    def add(
        self,
        plugin_id: str,
        source: str = GOOD,
        *,
        distribution: str | None = None,
        module: str | None = None,
        version: str = "1.2.3",
        manifest: str = "",
        requires: tuple[str, ...] = (),
        entry: str | None = None,
        readme: str = "",
    ) -> str:
        """Install one; `manifest` is added to (or, where it sets `id`, replaces) the usual one. Gives the module."""
        distribution = distribution or f"penguin-hub-{plugin_id}"
        module = module or f"penguin_hub_{plugin_id.replace('-', '_')}"
        package = self.folder / module
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text(dedent(source))
        text = manifest if "id =" in manifest else self.manifest(plugin_id) + manifest
        (package / "plugin.toml").write_text(text)
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        lines = [f"Name: {distribution}", f"Version: {version}", "Author: A. Tester"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (info / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n\n" + readme)
        (info / "entry_points.txt").write_text(f"[penguin_hub.plugins]\n{plugin_id} = {entry or module}\n")
        return module


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """A folder on `sys.path` for as long as the block lasts; what was imported from it is forgotten afterwards."""
    made = Site(folder)
    sys.path.insert(0, str(folder))
    try:
        yield made
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]
