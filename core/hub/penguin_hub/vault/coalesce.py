"""One answer for all who ask the same thing at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


class Coalesced(Generic[Key, Answer]):
    """Calls under way, by what they ask for. A caller that is cancelled leaves the others' call running."""

    def __init__(self) -> None:
        self._under_way: dict[Key, asyncio.Task[Answer]] = {}

    async def get(self, key: Key, make: Callable[[], Awaitable[Answer]]) -> Answer:
        task = self._under_way.get(key)
        if task is None or task.done():  # Done, and its callback has not run yet: that answer is no longer fresh.
            task = asyncio.ensure_future(_run(make))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def forget(self, matching: Callable[[Key], bool]) -> None:
        """Whoever asks from now on gets a call of his own: what is under way may be out of date."""
        for key in [key for key in self._under_way if matching(key)]:
            del self._under_way[key]

    async def close(self) -> None:
        """Wait for what is under way, whatever comes of it."""
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _done(self, key: Key, task: "asyncio.Task[Answer]") -> None:
        if self._under_way.get(key) is task:
            del self._under_way[key]
        if not task.cancelled():
            task.exception()  # Read once, so that a failure nobody waits for any longer is not reported as lost.


async def _run(make: Callable[[], Awaitable[Answer]]) -> Answer:
    return await make()
