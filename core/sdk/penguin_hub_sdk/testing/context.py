"""A connection's surroundings, in memory."""

import asyncio
import importlib
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from penguin_hub_sdk.config import Config, decode
from penguin_hub_sdk.context import Context
from penguin_hub_sdk.hooks import Plugin
from penguin_hub_sdk.http import Http, HttpPolicy
from penguin_hub_sdk.network import Network
from penguin_hub_sdk.tcp import Tcp
from penguin_hub_sdk.testing.recorder import Recorder

T = TypeVar("T")


class MemoryState:
    """`ctx.state` as a dict."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def get(self, key: str) -> str | None:
        return self.values.get(key)

    async def set(self, key: str, value: str | None) -> None:
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value


class MemoryLog:
    """`ctx.log` as a list."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(("warning", event, fields))


def load(package: str) -> Plugin[Any]:
    """The value of the plugin whose module this is."""
    plugin: Plugin[Any] = importlib.import_module(package).hub_plugin()
    return plugin


def context(
    plugin: Plugin[Any],
    config: Mapping[str, Any] | Config,
    recorder: Recorder | None = None,
    *,
    net: Network | None = None,
) -> Context[Any]:
    """What the hub would give the connector, with a Recorder for the provider. `net`: a `Tcp` with `allow` for servers
    on this machine; otherwise TCP follows the rules of the hub, which let nothing private through."""
    settings = config if isinstance(config, Config) else decode(plugin.config, config)
    wire = recorder or Recorder()
    policy = HttpPolicy.of(plugin.manifest, settings, errors=plugin.errors)
    return Context(
        connection="cnx_test00000000000000000000",
        config=settings,
        http=Http(policy, settings, wire=wire, clock=wire.clock, sleep=wire.sleep),
        net=net or Tcp(plugin.manifest, settings),
        state=MemoryState(),
        log=MemoryLog(),
    )


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The suites are not async themselves, so that they need no plugin of pytest."""
    return asyncio.run(coroutine)
