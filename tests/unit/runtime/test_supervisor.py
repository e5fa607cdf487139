"""The supervisor with parts that are nothing but small processes."""

import asyncio
import subprocess
import sys

import pytest
from penguin_hub.platform.embedded import StartupError
from penguin_hub.runtime import supervisor as module
from penguin_hub.runtime.supervisor import Supervisor, together

SLEEPER = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)")


class Fake:
    def __init__(self, name: str, log: list[str], *, refusals: int = 0) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.started = asyncio.Event()
        self._log = log
        self._refusals = refusals

    async def start(self) -> None:
        self.starts += 1
        if self.starts > 1 and self._refusals > 0:
            self._refusals -= 1
            raise StartupError("not now")
        self.process = subprocess.Popen(SLEEPER)  # noqa: ASYNC220 -- forks and returns
        self.started.set()

    async def stop(self) -> None:
        self._log.append(self.name)
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    async def killed(self) -> None:
        """Kill it, and wait until it is started again."""
        assert self.process is not None
        self.started.clear()
        self.process.kill()
        await asyncio.wait_for(self.started.wait(), 10)


@pytest.fixture
def log() -> list[str]:
    return []


async def supervised(*parts: Fake) -> tuple[Supervisor, asyncio.Task[None]]:
    supervisor = Supervisor()
    for part in parts:
        supervisor.add(part)
    await together(parts)
    return supervisor, asyncio.create_task(supervisor.run())


async def ended(supervisor: Supervisor, running: asyncio.Task[None]) -> None:
    supervisor.end()
    await asyncio.wait_for(running, 5)
    await supervisor.stop()


async def test_a_part_that_ends_is_started_again_and_the_others_are_left_alone(log: list[str]) -> None:
    first, second = Fake("first", log), Fake("second", log)
    supervisor, running = await supervised(first, second)
    await first.killed()
    assert (first.starts, second.starts) == (2, 1)
    await ended(supervisor, running)
    assert log == ["second", "first"], "ended in the reverse order"


async def test_a_part_that_cannot_start_is_tried_again(log: list[str]) -> None:
    part = Fake("part", log, refusals=2)
    supervisor, running = await supervised(part)
    await part.killed()
    assert part.starts == 4
    await ended(supervisor, running)


async def test_starts_that_follow_each_other_wait_longer(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(module.asyncio, "sleep", noted)
    part = Fake("part", log, refusals=12)
    supervisor, running = await supervised(part)
    await part.killed()
    assert waits[:3] == [module.FIRST_DELAY, module.FIRST_DELAY * 2, module.FIRST_DELAY * 4]
    assert max(waits) == module.LONGEST_DELAY
    await ended(supervisor, running)


async def test_the_end_does_not_wait_for_a_part_that_is_being_repaired(log: list[str]) -> None:
    part = Fake("part", log, refusals=1000)
    supervisor, running = await supervised(part)
    assert part.process is not None
    part.process.kill()
    await asyncio.to_thread(part.process.wait)
    await ended(supervisor, running)
    assert log == ["part"]


async def test_when_one_cannot_start_the_others_have_finished_starting(log: list[str]) -> None:
    class Refusing(Fake):
        async def start(self) -> None:
            raise StartupError("never")

    good = Fake("good", log)
    with pytest.raises(StartupError, match="never"):
        await together([Refusing("bad", log), good])
    assert good.process is not None
    await good.stop()


async def test_the_first_part_that_has_ended_is_named(log: list[str]) -> None:
    supervisor = Supervisor()
    part = Fake("part", log)
    supervisor.add(part)
    assert supervisor.first_ended() is None
    await part.start()
    assert supervisor.first_ended() is None
    assert part.process is not None
    part.process.kill()
    part.process.wait()
    assert supervisor.first_ended() == "part"
