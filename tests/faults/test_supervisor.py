"""Any process of a hub may be killed at any moment: it is started again, and the hub goes on."""

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import psutil
import pytest
from support.hub import Hub

StartHub = Callable[..., Hub]
REPAIR_SECONDS = 30.0


def contacts(hub: Hub) -> int | None:
    """The status of a request that needs the API, PostgreSQL and, for its limit, Valkey. None: nobody answers."""
    request = urllib.request.Request(  # noqa: S310 -- the hub's own address
        f"{hub.url}/api/v1/contacts", headers={"Authorization": f"Bearer {hub.live_key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 -- likewise
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def traces(hub: Hub) -> list[str]:
    """Log lines with a traceback: an outage is no fault of ours and needs none."""
    return [line for line in hub.text().splitlines() if "Traceback" in line]


async def until(what: Callable[[], bool], seconds: float = REPAIR_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(what):
        assert time.monotonic() < deadline, "not repaired in time"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("part", ["api", "worker", "postgres", "valkey"])
async def test_a_killed_part_is_started_again(start_embedded_hub: StartHub, part: str) -> None:
    hub = start_embedded_hub()
    before = hub.pids()
    psutil.Process(before[part]).kill()
    await until(lambda: hub.pids().get(part, before[part]) != before[part])
    await until(lambda: contacts(hub) == 200)
    after = hub.pids()
    assert {name: after[name] == pid for name, pid in before.items()} == {name: name != part for name in before}
    assert f'"part":"{part}"' in hub.text()
    assert not traces(hub)


async def test_a_part_that_is_killed_again_and_again_comes_back(start_embedded_hub: StartHub) -> None:
    hub = start_embedded_hub()
    for _ in range(4):
        pid = hub.pids()["worker"]
        psutil.Process(pid).kill()
        await until(lambda pid=pid: hub.pids().get("worker", pid) != pid)  # type: ignore[misc] # bound now
    assert contacts(hub) == 200


async def test_everything_killed_at_once_comes_back(start_embedded_hub: StartHub) -> None:
    hub = start_embedded_hub()
    before = hub.pids()
    for pid in before.values():
        psutil.Process(pid).kill()
    await until(lambda: contacts(hub) == 200 and len(hub.pids()) == len(before))
    assert not set(before.values()) & set(hub.pids().values())
    assert await asyncio.to_thread(hub.stop) == 0


async def test_a_killed_session_of_postgresql_is_no_end(start_embedded_hub: StartHub) -> None:
    """PostgreSQL restarts all its sessions when one of them is killed; the hub stays as it is."""
    hub = start_embedded_hub()
    before = hub.pids()
    assert contacts(hub) == 200
    sessions = [one for one in psutil.Process(before["postgres"]).children() if "_app" in " ".join(one.cmdline())]
    assert sessions
    sessions[0].kill()
    await until(lambda: contacts(hub) == 200)
    assert hub.pids() == before
