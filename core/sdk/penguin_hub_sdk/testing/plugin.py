"""The suite for every plugin: the value it returns, and the folder it lives in."""

import ast
import importlib.metadata
import importlib.resources
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penguin_hub_sdk import _hosts
from penguin_hub_sdk.config import Config, decode, json_schema, secret_fields, secret_values
from penguin_hub_sdk.connectors import BatchEmailProvider, Connector, EmailProvider
from penguin_hub_sdk.events import E
from penguin_hub_sdk.hooks import ENTRY_POINTS, Plugin
from penguin_hub_sdk.testing.context import context, load
from penguin_hub_sdk.testing.quality import RULES, read
from penguin_hub_sdk.testing.recorder import Recorder

# The world is reached through the Context alone.
FORBIDDEN_IMPORTS = frozenset(
    {
        "penguin_hub",
        "httpx",
        "httpcore",
        "requests",
        "aiohttp",
        "urllib3",
        "urllib.request",
        "http.client",
        "subprocess",
    }
)
FORBIDDEN_NAMES = frozenset({"environ", "getenv", "putenv", "system", "popen"})

# Run in a process of its own: whatever the module does while it is imported, beyond being read, is an event here.
_IMPORT = """
import importlib, sys, threading
package, done = sys.argv[1], []
def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    acts = event.split(".")[0] in ("socket", "subprocess", "shutil", "sqlite3") or event in ("os.system", "os.fork")
    if writes or (acts and event not in ("socket.__new__", "socket.gethostname")):
        done.append(event)
for name in ("penguin_hub_sdk", "penguin_hub_sdk.testing"):
    importlib.import_module(name)
sys.addaudithook(watch)
module = importlib.import_module(package)
module.hub_plugin()
threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
sys.exit(f"importing {package} does things: {done} {threads}" if done or threads else 0)
"""


class PluginSuite:
    """Manifest, configuration, and the rules that hold for the folder."""

    package: str
    config: dict[str, Any]

    @property
    def plugin(self) -> Plugin[Any]:
        return load(self.package)

    @property
    def root(self) -> Path:
        """The plugin's folder: the one above the tests."""
        return Path(inspect.getfile(type(self))).parent.parent

    def test_the_value(self) -> None:
        plugin = self.plugin
        assert type(plugin) is Plugin
        assert issubclass(plugin.config, Config)
        assert (plugin.manifest, plugin.config) == (self.plugin.manifest, self.plugin.config)

    def test_the_entry_point_and_the_names(self) -> None:
        manifest = self.plugin.manifest
        found = {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
        assert manifest.id in found, f"no entry point {manifest.id!r} in the group {ENTRY_POINTS!r}: install the plugin"
        point = found[manifest.id]
        assert point.value == self.package
        assert point.dist is not None
        assert point.dist.name == f"penguin-hub-{manifest.id}"
        assert point.dist.version == manifest.version, "the manifest and pyproject.toml have different versions"

    def test_nothing_happens_on_import(self) -> None:
        command = [sys.executable, "-B", "-c", _IMPORT, self.package]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own text
        assert done.returncode == 0, done.stderr

    def test_the_world_is_reached_through_the_context(self) -> None:
        for file, node in self._nodes():
            where = f"{file.name}:{getattr(node, 'lineno', 0)}"
            for name in _imported(node):
                parts = [".".join(name.split(".")[:count]) for count in range(1, name.count(".") + 2)]
                assert not FORBIDDEN_IMPORTS & set(parts), f"{where} imports {name}"
                foreign = parts[0].startswith("penguin_hub_") and parts[0] not in ("penguin_hub_sdk", self.package)
                assert not foreign, f"{where} imports another plugin: {name}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert node.attr not in FORBIDDEN_NAMES, f"{where} uses os.{node.attr}"

    def test_the_configuration(self) -> None:
        config = self.plugin.config
        decode(config, self.config)
        with pytest.raises(msgspec.ValidationError):
            decode(config, {**self.config, "no_such_setting": 1})
        schema = json_schema(config)
        assert schema["additionalProperties"] is False
        for name, shape in schema.get("properties", {}).items():
            assert "title" in shape or "description" in shape, f"the setting {name!r} has neither title nor description"

    def test_secrets_stay_secret(self) -> None:
        settings = decode(self.plugin.config, self.config)
        for name in secret_fields(self.plugin.config):
            shape = json_schema(self.plugin.config)["properties"][name]
            assert "password" in repr(shape), f"{name} is not shown as a password"
        for secret in secret_values(settings):
            assert secret not in f"{settings!r} {settings}"
        if secret_values(settings):
            with pytest.raises(TypeError):
                msgspec.json.encode(settings)

    def test_hosts(self) -> None:
        manifest = self.plugin.manifest
        known = {field.name for field in msgspec.structs.fields(self.plugin.config)}
        assert _hosts.fields(manifest.hosts) <= known, "hosts mention a setting that does not exist"
        for host in manifest.hosts:
            assert not host.startswith("*.") or host.count(".") > 1, f"{host} is half the internet"

    def test_events(self) -> None:
        words = {str(word) for word in E} - {str(E.UNKNOWN)}
        assert set(self.plugin.manifest.events) <= words
        assert not self.plugin.manifest.events or self.plugin.webhook or self.plugin.manifest.sandbox

    def test_connecting_is_cheap_and_has_the_right_shape(self) -> None:
        plugin, recorder = self.plugin, Recorder()
        connector = plugin.connect(context(plugin, self.config, recorder))
        assert recorder.requests == []
        assert isinstance(connector, Connector)
        if plugin.manifest.category == "email":
            assert isinstance(connector, EmailProvider)
        assert (plugin.manifest.batch > 1) == isinstance(connector, BatchEmailProvider)

    def test_the_readme(self) -> None:
        text = (self.root / "README.md").read_text(encoding="utf-8").lower()
        for word in ("set up", "limits", "remov"):
            assert word in text, f"README.md says nothing about: {word}"

    def test_quality(self) -> None:
        quality = read(self.root / "quality.toml")
        assert set(quality.rules) == set(RULES), f"quality.toml: {set(quality.rules) ^ set(RULES)}"

    def _nodes(self) -> Iterator[tuple[Path, ast.AST]]:
        with importlib.resources.as_file(importlib.resources.files(self.package)) as folder:
            for file in sorted(folder.rglob("*.py")):
                for node in ast.walk(ast.parse(file.read_bytes())):
                    yield file, node


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []
