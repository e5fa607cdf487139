"""Mail through kills: whatever dies, every accepted message goes out and a repeated request is one message."""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
from support.hub import Hub

StartHub = Callable[..., Hub]
MESSAGES = 240
DRAIN_SECONDS = 90.0
"""A dead worker's messages are taken over after their lease of 30 seconds."""


class Client:
    """A careful one: it repeats a request with its key until it is answered."""

    def __init__(self, hub: Hub) -> None:
        self.http = httpx.AsyncClient(
            base_url=f"{hub.url}/api/v1", headers={"authorization": f"Bearer {hub.test_key}"}, timeout=10
        )
        self.accepted: dict[str, str] = {}
        self.repeated = 0

    async def send(self, key: str) -> None:
        body = {"from": "shop@example.com", "to": f"{key}@example.com", "subject": key, "text": "Hi"}
        while True:
            try:
                answer = await self.http.post("/emails/send", json=body, headers={"idempotency-key": key})
            except httpx.TransportError:
                self.repeated += 1
            else:
                if answer.status_code == 202:
                    self.accepted[key] = answer.json()["id"]
                    return
                assert answer.status_code in {409, 503}, answer.text
                self.repeated += 1
            await asyncio.sleep(0.2)

    async def all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            parameters = {"limit": "100", **({"cursor": cursor} if cursor else {})}
            page = (await self.http.get("/emails", params=parameters)).raise_for_status().json()
            found += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


def kill(hub: Hub, part: str) -> None:
    if (pid := hub.pids().get(part)) is not None:
        psutil.Process(pid).kill()


async def test_a17_every_accepted_message_goes_out_once_accepted_whatever_is_killed(start_hub: StartHub) -> None:
    hub = await asyncio.to_thread(start_hub, extra={"PENGUIN_RATE_LIMIT": "100000"})
    client = Client(hub)
    stop = asyncio.Event()

    async def havoc() -> None:
        for part in itertools.cycle(("worker", "api", "worker", "postgres", "valkey")):
            if stop.is_set():
                return
            await asyncio.to_thread(kill, hub, part)
            await asyncio.sleep(1.5)

    breaking = asyncio.create_task(havoc())
    keys = iter([f"m{number}" for number in range(MESSAGES)])

    async def sender() -> None:
        for key in keys:
            await client.send(key)
            await asyncio.sleep(0.2)

    await asyncio.gather(*(sender() for _ in range(8)))
    stop.set()
    await breaking
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        try:
            found = await client.all()
        except httpx.HTTPError:
            found = []
        if len(found) >= MESSAGES and all(email["status"] == "delivered" for email in found):
            break
        assert time.monotonic() < deadline, sorted({email["status"] for email in found})
        await asyncio.sleep(1)
    assert sorted(email["subject"] for email in found) == sorted(client.accepted), "one message for each key"
    assert {email["id"] for email in found} == set(client.accepted.values())
    assert client.repeated > 0, "nothing was broken: the test shows nothing"
    await client.http.aclose()
