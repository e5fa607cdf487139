"""Who blocks the event loop is named."""

import asyncio
import time

import structlog.testing
from penguin_hub.plugins.stalls import StallWatch
from support.distributions import Site


async def test_p09_a_blocking_call_is_named_by_file_and_line(plugins_folder: Site) -> None:
    source = "import time\n\n\nasync def send():\n    time.sleep(0.4)\n"
    module = __import__(plugins_folder.add("blocker", source))
    stop = asyncio.Event()
    watch = asyncio.create_task(StallWatch({"penguin_hub_blocker": "blocker"}).run(stop))
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as logs:
        await module.send()
        time.sleep(0.4)  # noqa: ASYNC251 -- the hub's own code, which the watch does not blame on a plugin
        stop.set()
        await watch
    (entry,) = [entry for entry in logs if entry["event"] == "event_loop_blocked"]
    assert entry["plugin"] == "blocker"
    assert entry["at"] == f"{module.__file__}:5"
