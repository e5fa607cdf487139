"""A call of a plugin's code: what it raises and how long it takes stays a matter of that call."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from penguin_hub.plugins.calls import FAILURES, OPEN_SECONDS, WINDOW_SECONDS, Broken, Calls
from penguin_hub.plugins.errors import PluginCrashed, PluginFault, PluginMisbehaved, PluginPaused, PluginTimeout
from penguin_hub_sdk import errors


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def calls(clock: Clock) -> Calls:
    return Calls(clock)


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def make() -> None:
        raise error

    return make


async def one() -> int:
    return 1


async def run(calls: Calls, make: Callable[[], Awaitable[Any]], **options: Any) -> Any:
    options = {"timeout": 5.0, "check": lambda value: value, "connection": "cnx_1", "method": "send", **options}
    connection, method = options.pop("connection"), options.pop("method")
    return await calls.call("acme", connection, method, make, **options)


async def test_p07_a_slow_call_ends_at_its_limit(calls: Calls) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(PluginTimeout) as late:
        await run(calls, lambda: asyncio.sleep(60), timeout=0.2)
    assert 0.2 <= loop.time() - started < 0.4
    assert late.value.code == "plugin_timeout"
    assert late.value.effect.retryable


async def test_p08_a_result_after_the_limit_is_dropped_even_if_cancellation_is_swallowed(calls: Calls) -> None:
    release, ended = asyncio.Event(), asyncio.Event()

    async def stubborn() -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        return "late"

    with pytest.raises(PluginTimeout):
        await run(calls, stubborn, timeout=0.05)
    assert await run(calls, one) == 1
    release.set()
    await ended.wait()
    assert await run(calls, one) == 1


@pytest.mark.parametrize(
    "error",
    [ValueError("secret-value"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration()],
    ids=repr,
)
async def test_p02_whatever_a_call_raises_ends_that_call_alone(calls: Calls, error: BaseException) -> None:
    with pytest.raises(PluginCrashed) as crashed:
        await run(calls, raising(error))
    assert crashed.value.incident.startswith("inc_")
    assert "secret-value" not in crashed.value.detail
    assert await run(calls, one) == 1


async def test_a_cancelled_caller_cancels_the_call(calls: Calls) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = asyncio.create_task(run(calls, endless))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await cancelled.wait()


async def test_p10_of_three_implementations_one_fails_and_two_answer(calls: Calls) -> None:
    makes = [one, raising(ValueError("x")), one]
    outcomes = await asyncio.gather(
        *(run(calls, make, connection=f"cnx_{n}") for n, make in enumerate(makes)), return_exceptions=True
    )
    assert outcomes[0] == outcomes[2] == 1
    assert isinstance(outcomes[1], PluginCrashed)


async def test_p10_the_circuit_opens_after_n_faults_and_a_probe_closes_it(calls: Calls, clock: Clock) -> None:
    for _ in range(FAILURES):
        with pytest.raises(PluginCrashed):
            await run(calls, raising(ValueError("x")))
    with pytest.raises(PluginPaused) as paused:
        await run(calls, one)
    assert paused.value.retry_after == OPEN_SECONDS
    assert await run(calls, one, connection="cnx_2") == 1, "another tenant's connection goes on"
    assert await run(calls, one, method="check") == 1

    clock.now += OPEN_SECONDS
    hold = asyncio.Event()
    probe = asyncio.create_task(run(calls, hold.wait))
    await asyncio.sleep(0)
    with pytest.raises(PluginPaused):
        await run(calls, one)
    hold.set()
    assert await probe
    assert await run(calls, one) == 1


async def test_p10_a_failed_or_abandoned_probe_does_not_close_it(calls: Calls, clock: Clock) -> None:
    for _ in range(FAILURES):
        with pytest.raises(PluginCrashed):
            await run(calls, raising(ValueError("x")))
    clock.now += OPEN_SECONDS
    with pytest.raises(PluginCrashed):
        await run(calls, raising(ValueError("x")))
    with pytest.raises(PluginPaused):
        await run(calls, one)
    clock.now += OPEN_SECONDS
    probe = asyncio.create_task(run(calls, asyncio.Event().wait))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.wait({probe})
    assert await run(calls, one) == 1, "a cancelled probe leaves the place to the next one"


async def test_p10_faults_far_apart_do_not_open_it(calls: Calls, clock: Clock) -> None:
    for _ in range(2 * FAILURES):
        with pytest.raises(PluginCrashed):
            await run(calls, raising(ValueError("x")))
        clock.now += WINDOW_SECONDS / (FAILURES - 2)
    assert await run(calls, one) == 1


async def test_p10_a_refusal_by_the_provider_is_not_the_plugins_fault(calls: Calls) -> None:
    for _ in range(2 * FAILURES):
        with pytest.raises(errors.ProviderFailed):
            await run(calls, raising(errors.ProviderFailed("down")))
    assert await run(calls, one) == 1


async def test_a_hostile_error_arrives_as_one_of_the_contract(calls: Calls) -> None:
    class Own(errors.RateLimited):
        effect = errors.Effect("own", retryable=True, connection="error", notify=True, breaker=True)

    hostile = Own("the key is s3cr3t-key\x1b[31m" + "x" * 5000, code=7, status=99999, retry_after=math.nan)  # type: ignore[arg-type] # hostile
    hostile.field = ["not", "text"]  # type: ignore[assignment] # hostile
    with pytest.raises(errors.RateLimited) as raised:
        await run(calls, raising(hostile), hidden=["s3cr3t-key"])
    error = raised.value
    assert type(error) is errors.RateLimited
    assert error.detail.startswith("the key is *** [31mxxx")
    assert len(error.detail) <= 500
    assert (error.code, error.status, error.retry_after, error.field) == (None, None, None, None)


@pytest.mark.parametrize(
    ("given", "kept"), [(5, 5.0), (-1, None), (10**400, 86_400.0), (math.inf, 86_400.0), ("soon", None), (0, 0.0)]
)
async def test_a_time_to_wait_is_one_that_can_be_waited(calls: Calls, given: Any, kept: float | None) -> None:
    with pytest.raises(errors.RateLimited) as raised:
        await run(calls, raising(errors.RateLimited("slow down", retry_after=given)))
    assert raised.value.retry_after == kept


async def test_an_error_that_breaks_its_reader_is_a_crash(calls: Calls) -> None:
    class Trap(errors.Rejected):
        def __init__(self) -> None:
            Exception.__init__(self)

        @property
        def __dict__(self) -> Any:  # type: ignore[override] # hostile
            raise SystemExit

        def __repr__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(PluginFault):
        await run(calls, raising(Trap()))


async def test_a_value_that_is_not_what_was_promised_is_named_so(calls: Calls) -> None:
    def check(_: object) -> None:
        raise Broken("a number is promised")

    with pytest.raises(PluginMisbehaved):
        await run(calls, one, check=check)


def test_a_plain_function_is_contained_too(calls: Calls) -> None:
    def leave() -> None:
        raise SystemExit

    with pytest.raises(PluginCrashed):
        calls.sync("acme", "normalise", leave, lambda value: value)
    assert calls.sync("acme", "normalise", lambda: 3, lambda value: value + 1) == 4
