"""Calling a plugin's code: with a deadline, and so that whatever it raises stays a matter of that one call.

A call ends when its time is up even if the plugin swallows its cancellation; what it answers later is dropped. A plugin
that keeps failing by its own fault is left alone for a while, for that connection and method alone: one tenant's data
must not take a plugin from the others. Failures of the provider are not counted here but in `ctx.http`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import structlog
from penguin_hub_sdk import errors as sdk_errors
from penguin_hub_sdk.errors import PluginError
from prometheus_client import Counter, Histogram

from penguin_hub.platform import ids
from penguin_hub.plugins.errors import PluginCrashed, PluginFault, PluginMisbehaved, PluginPaused, PluginTimeout

log = structlog.get_logger(__name__)

T = TypeVar("T")
R = TypeVar("R")

FAILURES: Final = 5
"""Faults within WINDOW_SECONDS that open a circuit, for OPEN_SECONDS; then one call is the probe."""
WINDOW_SECONDS: Final = 60.0
OPEN_SECONDS: Final = 30.0
MAX_CIRCUITS: Final = 10_000
"""Past this many all are forgotten, which costs some calls that could have been spared."""
MAX_DETAIL: Final = 500
MAX_RETRY_AFTER: Final = 86_400.0

CALLS: Final = Counter("penguin_plugin_calls", "Calls of plugins by outcome.", ["plugin", "method", "outcome"])
SECONDS: Final = Histogram("penguin_plugin_call_seconds", "Time in plugins.", ["plugin", "method"])

# What is thrown away when a plugin raises a class of its own: the tree of the contract is all that callers know.
_KINDS: Final = frozenset(
    kind for kind in vars(sdk_errors).values() if isinstance(kind, type) and issubclass(kind, PluginError)
)


class Broken(Exception):
    """A check's finding: what the plugin returned is not what the contract promises."""


class _Raised:
    """What the plugin's code raised, kept from rising by itself: SystemExit in a task would end the whole process."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Circuit:
    """Closed, open, half-open, for one kind of call. Times in seconds of a monotonic clock."""

    __slots__ = ("_failures", "_open_until", "_probing")

    def __init__(self) -> None:
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._open_until: float | None = None
        self._probing = False

    def wait(self, now: float) -> float:
        """Seconds until a call may be tried; 0 lets this one through, as the probe where the circuit was open."""
        if self._open_until is None:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        if self._probing:
            return 1.0
        self._probing = True
        return 0.0

    def failed(self, now: float) -> None:
        self._failures.append(now)
        full = len(self._failures) == FAILURES and now - self._failures[0] <= WINDOW_SECONDS
        if self._probing or full:
            self._open_until = now + OPEN_SECONDS
            self._probing = False

    def abandoned(self) -> None:
        """The call was cancelled by its caller and says nothing about the plugin."""
        self._probing = False


class Calls:
    """The calls of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Only of what failed a short while ago: an entry goes with the first success.
        self._circuits: dict[tuple[str, str, str], Circuit] = {}
        self._late: set[asyncio.Task[Any]] = set()

    async def call(
        self,
        plugin: str,
        connection: str,
        method: str,
        make: Callable[[], Awaitable[R]],
        *,
        timeout: float,  # noqa: ASYNC109 -- the limit must hold although the plugin may swallow a cancellation
        check: Callable[[object], T],
        hidden: Sequence[str] = (),
    ) -> T:
        """Await `make()` for at most `timeout` seconds and return what `check` makes of its value.

        `hidden` are values that no text of the plugin may show. Raises the plugin's own PluginError, cleaned, or
        PluginCrashed, PluginMisbehaved, PluginTimeout, PluginPaused.
        """
        key = (plugin, connection, method)
        circuit = self._circuits.get(key)
        if circuit is not None and (wait := circuit.wait(self._clock())) > 0:
            CALLS.labels(plugin, method, "paused").inc()
            raise PluginPaused(
                "The plugin failed several times in a row and is tried again shortly.",
                incident=ids.new("inc"),
                retry_after=wait,
                code="plugin_paused",
            )
        started = self._clock()
        try:
            result = await self._bounded(make, timeout)
            value = _judged(result, check, plugin=plugin, method=method, connection=connection, hidden=hidden)
        except asyncio.CancelledError:
            if circuit is not None:
                circuit.abandoned()
            raise
        except PluginFault:
            if len(self._circuits) >= MAX_CIRCUITS:
                self._circuits.clear()
            self._circuits.setdefault(key, Circuit()).failed(self._clock())
            raise
        except PluginError:
            self._circuits.pop(key, None)  # The plugin works; it is the provider or the settings.
            raise
        else:
            self._circuits.pop(key, None)
            return value
        finally:
            SECONDS.labels(plugin, method).observe(max(0.0, self._clock() - started))

    def sync(
        self,
        plugin: str,
        method: str,
        make: Callable[[], object],
        check: Callable[[Any], T],
        hidden: Sequence[str] = (),
    ) -> T:
        """The same for a plain function, which must be quick and pure: it has no deadline and no circuit."""
        result: object
        try:
            result = make()
        except BaseException as error:
            result = _Raised(error)
        return _judged(result, check, plugin=plugin, method=method, connection=None, hidden=hidden)

    async def _bounded(self, make: Callable[[], Awaitable[object]], seconds: float) -> object:
        """The value, a _Raised, or None for a call that was still running when its time was up."""
        task = asyncio.create_task(_contained(make))
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            if not task.done():
                task.cancel()
                self._late.add(task)
                task.add_done_callback(self._late.discard)
        if not task.done():
            return _LATE
        return _Raised(RuntimeError("it cancelled itself")) if task.cancelled() else task.result()


_FAULTS: Final[dict[type[PluginFault], tuple[str, str]]] = {
    PluginCrashed: ("plugin_crashed", "The plugin failed in a way it should not have."),
    PluginMisbehaved: ("plugin_misbehaved", "The plugin returned something other than it promised."),
    PluginTimeout: ("plugin_timeout", "The plugin did not answer in time."),
}


def _judged(
    result: object,
    check: Callable[[Any], T],
    *,
    plugin: str,
    method: str,
    connection: str | None,
    hidden: Sequence[str],
) -> T:
    """The checked value, or the error that the caller is to hear."""
    kind: type[PluginFault]
    cause: BaseException
    if isinstance(result, _Raised):
        refusal = _refusal(result.error, hidden)
        if refusal is not None:
            CALLS.labels(plugin, method, "refused").inc()
            raise refusal
        kind, cause = PluginCrashed, result.error
    elif result is _LATE:
        kind, cause = PluginTimeout, TimeoutError()
    else:
        try:
            value = check(result)
        except BaseException as error:  # What is checked is the plugin's own object, and may fight back.
            kind, cause = PluginMisbehaved, error
        else:
            CALLS.labels(plugin, method, "ok").inc()
            return value
    code, detail = _FAULTS[kind]
    incident = ids.new("inc")
    CALLS.labels(plugin, method, code).inc()
    log.error(
        code,
        plugin=plugin,
        method=method,
        connection=connection,
        incident=incident,
        reason=redacted(_shown(cause), hidden),
        at=_place(cause),
    )
    raise kind(detail, incident=incident, code=code)


_LATE: Final = object()


async def _contained(make: Callable[[], Awaitable[object]]) -> object:
    try:
        return await make()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return _Raised(error)
    except BaseException as error:
        return _Raised(error)


def clean(error: PluginError, hidden: Sequence[str]) -> PluginError:
    """The same error as a class of the contract itself, with fields that can be shown and reckoned with."""
    kind = next(kind for kind in type(error).__mro__ if kind in _KINDS)
    own = vars(error)
    wait, status = own.get("retry_after"), own.get("status")
    return kind(
        _text(own.get("detail"), hidden, MAX_DETAIL) or "The provider refused without saying why.",
        code=_text(own.get("code"), hidden, 64),
        status=status if isinstance(status, int) and 100 <= status <= 599 else None,
        # A comparison with NaN is false, so that NaN is no time to wait.
        retry_after=float(min(wait, MAX_RETRY_AFTER)) if isinstance(wait, int | float) and wait >= 0 else None,
        field=_text(own.get("field"), hidden, 64),
    )


def _refusal(error: BaseException, hidden: Sequence[str]) -> PluginError | None:
    if not isinstance(error, PluginError):
        return None
    try:
        return clean(error, hidden)
    except BaseException:  # An error made to break whoever looks at it counts as a crash.
        return None


def _shown(error: BaseException) -> str:
    try:
        return repr(error)[:2000]
    except BaseException:  # As above.
        return type(error).__name__


def redacted(text: str, hidden: Sequence[str]) -> str:
    """`text` without the values of `hidden`. Values of one or two characters hide nothing and would hide everything."""
    for secret in sorted(hidden, key=len, reverse=True):
        if len(secret) > 2:
            text = text.replace(secret, "***")
    return text


def _text(value: object, hidden: Sequence[str], limit: int) -> str | None:
    if not isinstance(value, str):
        return None
    printable = "".join(c if c.isprintable() else " " for c in redacted(value[: 20 * limit], hidden))
    return printable[:limit].strip() or None


def _place(error: BaseException | None) -> str | None:
    """Where it was raised: file and line of the innermost frame. No values."""
    frame = error.__traceback__ if error is not None else None
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else None
