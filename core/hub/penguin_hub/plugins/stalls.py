"""Finds who blocks the event loop: a plugin that calls something synchronous inside `async def` stalls everybody.

A thread asks the loop for a sign of life; when none comes in time it looks at what the loop's thread is executing and
names file and line, of the innermost frame that belongs to a plugin where there is one. It can tell, not prevent.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType
from typing import Final

import structlog
from prometheus_client import Counter

log = structlog.get_logger(__name__)

STALLS: Final = Counter("penguin_event_loop_stalls", "Times the event loop was blocked, by plugin.", ["plugin"])

EVERY_SECONDS: Final = 0.1
LIMIT_SECONDS: Final = 0.05
QUIET_SECONDS: Final = 60.0
"""One place is logged once in so long; it is counted every time."""


class StallWatch:
    """Watches the loop that `run` is called in. `packages` maps a plugin's top-level package to its id."""

    def __init__(self, packages: Mapping[str, str], *, limit: float = LIMIT_SECONDS) -> None:
        self._packages = packages
        self._limit = limit
        self._logged: dict[str, float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        ended = threading.Event()
        loop = asyncio.get_running_loop()
        watcher = threading.Thread(
            target=self._watch, args=(loop, threading.get_ident(), ended), name="stall-watch", daemon=True
        )
        watcher.start()
        try:
            await stop.wait()
        finally:
            ended.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int, ended: threading.Event) -> None:
        while not ended.wait(EVERY_SECONDS):
            alive = threading.Event()
            try:
                loop.call_soon_threadsafe(alive.set)
            except RuntimeError:  # The loop is closed.
                return
            if alive.wait(self._limit):
                continue
            # Judged by what runs now, while the loop still hangs.
            self._tell(sys._current_frames().get(thread))
            while not alive.wait(EVERY_SECONDS) and not ended.is_set():
                pass

    def _tell(self, frame: FrameType | None) -> None:
        found = blamed(frame, self._packages)
        if found is None:
            return
        plugin, place = found
        STALLS.labels(plugin).inc()
        now = time.monotonic()
        if now - self._logged.get(place, -QUIET_SECONDS) >= QUIET_SECONDS:
            self._logged[place] = now
            log.warning("event_loop_blocked", plugin=plugin, at=place)


def blamed(frame: FrameType | None, packages: Mapping[str, str]) -> tuple[str, str] | None:
    """The plugin and `file:line` of the innermost frame of a plugin's own code; None when no plugin is involved."""
    while frame is not None:
        plugin = packages.get(str(frame.f_globals.get("__name__", "")).partition(".")[0])
        if plugin is not None:
            return plugin, f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None
