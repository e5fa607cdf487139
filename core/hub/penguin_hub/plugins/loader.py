"""Loading: each candidate alone, so that whatever one does, the others are there.

A plugin that fails at any step is as if it had never been: no hook of it answers, its name is free, its modules are
forgotten, and a corrected version can be loaded in the same process. Its code runs in our process all the same, so
`os._exit`, an endless loop or a broken C extension on import is beyond what is promised here.
"""

import importlib
import sys
import traceback
from typing import Any, Final

import pluggy
import structlog
from penguin_hub_sdk import hooks
from penguin_hub_sdk.hooks import NAMESPACE
from prometheus_client import Gauge

from penguin_hub.plugins.calls import Calls
from penguin_hub.plugins.contract import ContractBroken, checked
from penguin_hub.plugins.discovery import Candidate, incompatible
from penguin_hub.plugins.guard import guarded
from penguin_hub.plugins.schemas import Failure, Loaded, Reason

log = structlog.get_logger(__name__)

PLUGINS: Final = Gauge("penguin_plugins", "Plugins by state.", ["state"], multiprocess_mode="max")
MAX_TRACEBACK: Final = 16_000


class _Failed(Exception):
    """A step that failed, with what caused it."""

    def __init__(self, reason: Reason, detail: str, *, requires_hub: str | None = None) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.requires_hub = requires_hub


class Loader:
    """Holds the hooks of what is loaded."""

    def __init__(self, calls: Calls) -> None:
        self.hooks = pluggy.PluginManager(NAMESPACE)
        self.hooks.add_hookspecs(hooks)
        self._calls = calls

    def load(self, candidate: Candidate) -> Loaded:
        """Never raises: what went wrong is in the answer, and in the log once."""
        before = frozenset(sys.modules)
        if candidate.failure is not None:
            return self._failed(candidate, candidate.failure)
        try:
            return self._load(candidate)
        # KeyboardInterrupt and SystemExit too: a plugin must not be able to end the hub.
        except BaseException as error:
            if self.hooks.has_plugin(candidate.id):
                self.hooks.unregister(name=candidate.id)
            for name in [name for name in sys.modules if name not in before and _inside(name, candidate.package)]:
                del sys.modules[name]
            failed = error if isinstance(error, _Failed) else _Failed("contract", "It failed while it was checked.")
            text = "".join(traceback.format_exception(error.__cause__ or error))[-MAX_TRACEBACK:]
            return self._failed(candidate, Failure(failed.reason, str(failed), text, failed.requires_hub))

    def _load(self, candidate: Candidate) -> Loaded:
        module = _imported(candidate)
        value = self._answer(candidate, module)
        try:
            found = checked(candidate.id, value)
        except ContractBroken as error:
            raise _Failed("contract", str(error)) from error
        if (failure := incompatible(value.manifest.requires_hub)) is not None:
            raise _Failed(failure.reason, failure.detail, requires_hub=failure.requires_hub)
        log.info("plugin_loaded", plugin=candidate.id, version=candidate.version)
        return Loaded(
            id=candidate.id,
            distribution=candidate.distribution,
            version=candidate.version,
            package=candidate.package,
            publisher=candidate.publisher,
            readme=candidate.readme,
            plugin=guarded(value, found.methods, self._calls),
            capabilities=found.capabilities,
            config_schema=found.config_schema,
            secrets=found.secrets,
        )

    def _answer(self, candidate: Candidate, module: object) -> Any:
        """What this plugin's own `hub_plugin` returns; nobody else's is called, and no wrapper stands in between."""
        try:
            self.hooks.register(module, name=candidate.id)
            self.hooks.check_pending()
        except Exception as error:
            raise _Failed("signature", f"Its hooks are not those of the contract ({type(error).__name__}).") from error
        own = [
            (caller.name, implementation)
            for caller in self.hooks.get_hookcallers(module) or ()
            for implementation in caller.get_hookimpls()
            if implementation.plugin is module
        ]
        if [name for name, _ in own] != ["hub_plugin"]:
            raise _Failed("signature", "It must implement hub_plugin once, and no other hook.")
        (_, implementation) = own[0]
        if implementation.wrapper or implementation.hookwrapper:
            raise _Failed("signature", "hub_plugin must not be a wrapper of other plugins' hooks.")
        try:
            value = implementation.function()
        except BaseException as error:
            raise _Failed("import", f"hub_plugin() failed ({type(error).__name__}).") from error
        if hasattr(value, "close") and hasattr(value, "cr_code"):
            value.close()  # A coroutine nobody will await.
            raise _Failed("signature", "hub_plugin must not be `async def`.")
        return value

    def _failed(self, candidate: Candidate, failure: Failure) -> Loaded:
        log.error("plugin_failed", plugin=candidate.id, reason=failure.reason, detail=failure.detail)
        return Loaded(
            id=candidate.id,
            distribution=candidate.distribution,
            version=candidate.version,
            package=candidate.package,
            failure=failure,
        )


def _imported(candidate: Candidate) -> object:
    importlib.invalidate_caches()
    try:
        return importlib.import_module(candidate.module)
    except BaseException as error:
        raise _Failed("import", f"Its module cannot be imported ({type(error).__name__}).") from error


def _inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")
