"""A hub's process that can be made to die at a chosen line: `penguin serve` or `penguin worker`, with fault points.

    python -P tests/support/part.py serve --data DIR --port N --armed DIR
    python -P tests/support/part.py worker --data DIR --armed DIR [--lease S] [--window S] [--name NAME]

A point is armed by a file of its name in the folder `--armed`. The first process that passes the point takes the file
away and is killed there by SIGKILL, as if by an operator: no handler runs, nothing is flushed.

`--poison` names a file that holds a word: the process dies in the middle of understanding a provider's request that
has the word in it, as a plugin's native code might make it die.

`--clock` names a file that holds by how many seconds this process's clock is wrong; it is read at each look.

`--lease` shortens every lease and, with it, the deadline of a delivery: a test need not wait for a minute to see that
somebody else takes the work over. `--window` is the time after which a failing endpoint is disabled.
"""

import argparse
import asyncio
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from penguin_hub import serve, worker
from penguin_hub import settings as settings_module
from penguin_hub.delivery import destinations
from penguin_hub.delivery.health import Health
from penguin_hub.delivery.settler import Settler
from penguin_hub.delivery.worker import DeliveryWorker
from penguin_hub.emails import lane
from penguin_hub.emails import worker as email_worker
from penguin_hub.emails.recorder import Recorder
from penguin_hub.events.wake import Wake
from penguin_hub.inbound.worker import InboundWorker
from penguin_hub.platform import clock, logging

# Name -> the method before (or after) which the process dies.
POINTS: dict[str, tuple[type[Any], str, str]] = {
    "api.committed": (Wake, "ring", "before"),
    "worker.claimed": (DeliveryWorker, "_admit", "before"),
    "worker.sent": (Settler, "_write", "before"),
    "worker.settled": (Settler, "_write", "after"),
    "email.sent": (Recorder, "settle", "before"),
    "inbound.normalised": (InboundWorker, "_effects", "before"),
    "inbound.recorded": (InboundWorker, "_effects", "after"),
}
ROLES = {"serve": ("api.",), "worker": ("worker.", "email.", "inbound.")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--armed", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--lease", type=float)
    parser.add_argument("--window", type=float)
    parser.add_argument("--name")
    parser.add_argument("--clock", type=Path)
    parser.add_argument("--poison", type=Path)
    given = parser.parse_args()
    logging.configure(json=True)
    settings = settings_module.load(os.environ, data=given.data)
    for name, (owner, method, when) in POINTS.items():
        if name.startswith(ROLES[given.role]):
            setattr(owner, method, _mortal(getattr(owner, method), given.armed / name, when))
    if given.clock is not None:
        setattr(clock, "now", partial(_wrong, given.clock))  # noqa: B010 -- mypy would have it unassignable
    if given.role == "serve":
        serve.run(settings, "127.0.0.1", given.port)
        return
    _adjust(given)
    uvloop.run(_work(settings))


def _wrong(file: Path) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=float(file.read_text()))


def _adjust(given: argparse.Namespace) -> None:
    options: dict[str, Any] = {}
    if given.lease is not None:
        options.update(lease=given.lease, deadline=given.lease / 4)
        setattr(worker, "InboundWorker", partial(InboundWorker, lease=given.lease))  # noqa: B010 -- mypy knows it Final
        for module in (lane, email_worker):
            setattr(module, "LEASE_SECONDS", given.lease)  # noqa: B010 -- likewise
    if given.window is not None:
        options["health"] = Health(timedelta(seconds=given.window))
    if given.poison is not None:
        InboundWorker._understood = _poisoned(InboundWorker._understood, given.poison)
    setattr(worker, "DeliveryWorker", partial(DeliveryWorker, **options))  # noqa: B010 -- likewise
    if given.name is not None:
        # So that a receiver can tell whose delivery it was.
        setattr(destinations, "USER_AGENT", given.name)  # noqa: B010 -- likewise


async def _work(settings: settings_module.Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await worker.run(settings, stop)


def _poisoned(method: Callable[..., Any], file: Path) -> Callable[..., Any]:
    def understood(self: InboundWorker, row: Any) -> Any:
        if file.exists() and file.read_bytes() in row["body"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(self, row)

    return understood


def _mortal(method: Callable[..., Any], armed: Path, when: str) -> Callable[..., Any]:
    def die() -> None:
        try:
            armed.unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    async def later(*arguments: Any, **named: Any) -> Any:
        if when == "before" and _has_work(arguments):
            die()
        result = await method(*arguments, **named)
        if when == "after" and _has_work(arguments):
            die()
        return result

    def now(*arguments: Any, **named: Any) -> Any:
        if _has_work(arguments):
            die()
        return method(*arguments, **named)

    return later if asyncio.iscoroutinefunction(method) else now


def _has_work(arguments: tuple[Any, ...]) -> bool:
    """An empty batch is no work to die of."""
    return len(arguments) < 2 or arguments[1] != []


if __name__ == "__main__":
    main()
