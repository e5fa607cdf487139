"""`penguin listen`: a tenant's events on a developer's machine, through the public API alone.

The hub is a real one that is killed and stopped on the way; the developer's server verifies each forward with the
`standardwebhooks` package.
"""

import asyncio
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from penguin_hub_sdk import signing
from support import hub as hubs
from support.hub import Hub
from support.receiver import receiver


def ask(hub: Hub, method: str, path: str, body: Any = None, *, seconds: float = 30) -> Any:
    request = urllib.request.Request(  # noqa: S310 -- our own hub
        f"{hub.url}/api/v1{path}",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={"authorization": f"Bearer {hub.live_key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310 -- our own hub
        raw = answer.read()
        return json.loads(raw) if raw else None


class Listening:
    """The command while it runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self, seconds: float = 30) -> dict[str, Any]:
        assert self.process.stdout is not None
        raw = await asyncio.wait_for(self.process.stdout.readline(), seconds)
        assert raw, await self.said()
        found: dict[str, Any] = json.loads(raw)
        return found

    async def said(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def end(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), 30)


@asynccontextmanager
async def listening(hub: Hub, *arguments: str, extra: Mapping[str, str] | None = None) -> AsyncIterator[Listening]:
    process = await asyncio.create_subprocess_exec(
        *hubs.command("listen", "--json", *arguments),
        env=hubs.environment({"PENGUIN_URL": hub.url, "PENGUIN_API_KEY": hub.live_key, **(extra or {})}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield Listening(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def endpoints(hub: Hub) -> list[str]:
    return [one["id"] for one in ask(hub, "GET", "/webhooks")["data"]]


async def publish(hub: Hub, type: str, count: int = 1) -> list[str]:
    """Until the hub takes them: it may be away just now."""
    body = [{"type": type, "data": {"n": number}} for number in range(count)]
    for _ in range(100):
        try:
            made = await asyncio.to_thread(ask, hub, "POST", "/events", body)
            return [one["id"] for one in made["data"]]
        except OSError:
            await asyncio.sleep(0.2)
    raise AssertionError("the hub did not come back")


async def test_events_are_shown_and_forwarded_signed_through_restarts_of_the_hub(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    async with (
        receiver() as server,
        listening(hub, "--forward", server.url, "--events", "order.*,user.made") as command,
    ):
        ready = await command.line()
        server.secret = ready["secret"]
        assert endpoints(hub) == [ready["endpoint"]]
        published = await publish(hub, "order.paid", 3)
        await publish(hub, "nobody.cares")
        published += await publish(hub, "user.made")
        shown = [await command.line() for _ in range(4)]
        assert [one["id"] for one in shown] == published
        assert [one["type"] for one in shown] == ["order.paid"] * 3 + ["user.made"]
        assert all(one["status"] == 200 and one["ms"] > 0 for one in shown)

        # A server that fails is shown, and does not hold up what follows.
        server.answer = lambda _: 500
        await publish(hub, "order.failed")
        assert (await command.line())["status"] == 500
        server.answer = lambda _: 200

        # The API dies while the command waits in a poll, and again with an event published meanwhile.
        for _ in range(2):
            os.kill(hub.pids()["api"], signal.SIGKILL)
            published = await publish(hub, "order.after")
            assert (await command.line(60))["id"] == published[0]

        assert all(one.verified for one in server.requests)
        assert {one.headers["content-type"] for one in server.requests} == {"application/json"}
        assert await command.end() == 0
        assert "The hub is back." in await command.said()
    assert endpoints(hub) == []


async def test_a_kept_endpoint_is_polled_with_the_secret_that_was_given(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    kept = ask(hub, "POST", "/webhooks", {"mode": "poll", "events": ["order.*"]})["id"]
    earlier = await publish(hub, "order.paid")
    own = signing.new_secret()
    for _ in range(2):  # the second time the secret is the endpoint's already
        async with receiver() as server:
            server.secret = own
            arguments = ("--forward", server.url, "--endpoint", kept)
            async with listening(hub, *arguments, extra={"PENGUIN_WEBHOOK_SECRET": own}) as command:
                assert await command.line() == {"ready": True, "endpoint": kept, "secret": own, "forward": server.url}
                assert (await command.line())["id"] == earlier[0]
                assert await command.end(signal.SIGTERM) == 0
            assert [one.verified for one in server.requests] == [True]
    assert endpoints(hub) == [kept]

    # Nobody there to forward to: said, and gone on from.
    async with listening(hub, "--forward", "http://127.0.0.1:9/", "--endpoint", kept) as command:
        await command.line()
        assert (await command.line())["error"] == "nobody listens there"
    # Without --forward the events are only shown.
    async with listening(hub, "--endpoint", kept) as command:
        await command.line()
        assert "status" not in await command.line()


def test_what_cannot_work_is_said_in_a_sentence(hub: Hub) -> None:
    good = {"PENGUIN_URL": hub.url, "PENGUIN_API_KEY": hub.live_key}
    for arguments, extra, sentence in (
        ((), {**good, "PENGUIN_API_KEY": ""}, "PENGUIN_API_KEY"),
        ((), {**good, "PENGUIN_API_KEY": "pm_live_wrong"}, "The hub refused"),
        (("--url", "http://127.0.0.1:9"), good, "nobody listens there"),
        (("--url", "localhost"), good, "not the address"),
        (("--forward", "ftp://x"), good, "not the address"),
        (("--forward", "http://x:port"), good, "not the address"),
        (("--secret", "short"), good, "signing secret cannot be used"),
        (("--endpoint", "whk_nothing"), good, "no such endpoint"),
        (("--events", "two words"), good, "The hub refused"),
    ):
        done = hubs.run("listen", *arguments, extra=extra)
        assert done.returncode == 1, arguments
        assert sentence in done.stderr, (arguments, done.stderr)
        assert done.stderr.count("\n") == 1, done.stderr
    assert endpoints(hub) == []


async def test_a_hub_that_stops_answers_those_who_wait_first(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    webhook = ask(hub, "POST", "/webhooks", {"mode": "poll", "events": ["*"]})["id"]
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(asyncio.to_thread(ask, hub, "GET", f"/webhooks/{webhook}/poll?wait=20"))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    at = loop.time()
    os.kill(hub.pids()["api"], signal.SIGTERM)
    page = await waiting
    assert (page["data"], loop.time() - at < 5) == ([], True)
    # Whoever answers next goes on from there.
    published = await publish(hub, "order.paid")
    found = ask(hub, "GET", f"/webhooks/{webhook}/poll?cursor={page['next_cursor']}")
    assert [event["id"] for event in found["data"]] == published


def test_a_poll_through_the_api_is_checked(hub: Hub) -> None:
    webhook = ask(hub, "POST", "/webhooks", {"url": None, "mode": "poll", "events": ["order.*"]})["id"]
    for query, status in (("cursor=x", 400), ("wait=21", 400), ("limit=0", 400), ("limit=1", 200)):
        try:
            ask(hub, "GET", f"/webhooks/{webhook}/poll?{query}")
            found = 200
        except urllib.error.HTTPError as error:
            with error:
                found = error.code
        assert found == status, query
    ask(hub, "DELETE", f"/webhooks/{webhook}")
