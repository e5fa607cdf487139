"""What a whole hub does for REST clients, as `penguin up` runs it: one API process, one worker, embedded servers.

    python tests/bench/bench_api.py [start] [contacts] [events] [emails] [inbound] [memory] [--seconds 10]

start     seconds until `penguin up` is ready: on an empty folder, and again on the same one
contacts  GET /contacts?limit=25 of 100,000 contacts, 32 connections
events    POST /events one at a time, and in batches of 100, to nobody (what is measured is accepting)
emails    POST /emails/send with the test key, 32 connections; the worker sends them through the sandbox meanwhile
inbound   POST /api/webhooks/mailgun/{connection}: verify and store
memory    what API and worker hold after all that

The baseline, in the same run, is a bare handler of the same server that answers as many bytes and does nothing else.
"""

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import uvloop
from bench.load import load, machine, request, resident
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from litestar import Litestar, Response, get
from penguin_hub import settings as settings_module
from penguin_hub.platform import db
from support import hub as hubs
from support.hub import Hub

CONTACTS = 100_000
CONNECTIONS = 32
BARE_BYTES = 6_500
"""About a page of 25 contacts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", default=[*SCENARIOS], help="what to measure")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--bare", type=int, metavar="PORT", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.bare:
        uvloop.run(serve_bare(wanted.bare))
        return
    print(machine())
    print("command: python tests/bench/bench_api.py", *wanted.scenarios, f"--seconds {wanted.seconds:g}")
    folder = Path(tempfile.mkdtemp(prefix="penguin-bench-"))
    try:
        if "start" in wanted.scenarios:
            start(folder)
        with hubs.running(folder / "hub", extra=EXTRA) as hub:
            for name in wanted.scenarios:
                if name != "start":
                    asyncio.run(SCENARIOS[name](hub, wanted.seconds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# No limit of a plan is measured here, and Mailgun is not asked.
EXTRA = {
    "PENGUIN_RATE_LIMIT": "1000000000",
    "PENGUIN_PROVIDER_OVERRIDES": json.dumps({"api.mailgun.net": "http://127.0.0.1:18997"}),
}


def start(folder: Path) -> None:
    for attempt in range(3):
        data = folder / f"start-{attempt}"
        times = []
        for _ in range(2):
            with hubs.running(data) as hub:
                times.append(hub.ready_after)
        print(f"start: empty folder {times[0]:.2f} s, again {times[1]:.2f} s")


async def contacts(hub: Hub, seconds: float) -> None:
    await fill_contacts(hub)
    page = [request("GET", "/api/v1/contacts?limit=25", key=hub.live_key)]
    with bare() as url:
        print("bare handler              :", await load(url, [request("GET", "/")], **at(seconds)))
    print("GET /contacts?limit=25    :", await load(hub.url, page, **at(seconds)))


async def events(hub: Hub, seconds: float) -> None:
    one = {"type": "order.paid", "data": {"order": "12345", "total": 99.5, "text": "x" * 200}}
    single = [request("POST", "/api/v1/events", key=hub.live_key, body=json.dumps(one).encode())]
    batch = [request("POST", "/api/v1/events", key=hub.live_key, body=json.dumps([one] * 100).encode())]
    print("POST /events              :", await load(hub.url, single, **at(seconds)))
    result = await load(hub.url, batch, connections=4, seconds=seconds)
    print("POST /events, 100 at once :", result, f"  = {result.rate * 100:,.0f} events/s")


async def emails(hub: Hub, seconds: float) -> None:
    message = {"from": "a@example.com", "to": "delivered@example.com", "subject": "Hello", "text": "x" * 500}
    sends = [request("POST", "/api/v1/emails/send", key=hub.test_key, body=json.dumps(message).encode())]
    print("POST /emails/send         :", await load(hub.url, sends, **at(seconds)))


async def inbound(hub: Hub, seconds: float) -> None:
    key = "signing-key"
    body: dict[str, Any] = {
        "plugin": "mailgun",
        "config": {"api_key": "k", "domain": "mg.example.com", "region": "us", "webhook_signing_key": key},
    }
    with stand_in():
        connection = ask(hub, "POST", "/api/v1/connections", body)["id"]
    payload = json.loads((Path(__file__).parents[2] / "plugins/mailgun/tests/fixtures/delivered.json").read_text())
    reports = []
    for _ in range(int(4000 * seconds)):
        stamp, token = str(int(time.time())), secrets.token_hex(25)
        signature = hmac.new(key.encode(), (stamp + token).encode(), hashlib.sha256).hexdigest()
        payload["signature"] = {"timestamp": stamp, "token": token, "signature": signature}
        payload["event-data"]["id"] = token
        reports.append(request("POST", f"/api/webhooks/mailgun/{connection}", body=json.dumps(payload).encode()))
    print("inbound, mailgun          :", await load(hub.url, reports, **at(seconds)))


async def memory(hub: Hub, seconds: float) -> None:
    pids = hub.pids()
    print(f"memory: API {resident(pids['api']):.0f} MiB, worker {resident(pids['worker']):.0f} MiB")


SCENARIOS: dict[str, Any] = {
    "start": start,
    "contacts": contacts,
    "events": events,
    "emails": emails,
    "inbound": inbound,
    "memory": memory,
}


def at(seconds: float) -> dict[str, Any]:
    return {"connections": CONNECTIONS, "seconds": seconds}


def ask(hub: Hub, method: str, path: str, body: Any) -> Any:
    asked = urllib.request.Request(  # noqa: S310 -- our own hub
        hub.url + path,
        data=json.dumps(body).encode(),
        method=method,
        headers={"authorization": f"Bearer {hub.live_key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 -- our own hub
        return json.loads(answer.read())


async def fill_contacts(hub: Hub) -> None:
    settings = settings_module.load({}, data=hub.data)
    async with db.owner(settings.database_url) as owner:
        await owner.execute(
            """INSERT INTO contacts (tenant_id, id, workspace_id, email, email_key, tags, attributes, created_at)
               SELECT $1, 'con_' || lpad(n::text, 26, '0'), $2, 'c' || n || '@example.com', 'c' || n || '@example.com',
                   ARRAY['customer', 'tag' || n % 50], '{"plan": "gold"}', now() - n * interval '1 second'
               FROM generate_series(1, $3::int) AS n""",
            hub.tenant,
            hub.workspace,
            CONTACTS,
            timeout=120,
        )
        await owner.execute("VACUUM ANALYZE contacts", timeout=120)


@contextlib.contextmanager
def bare() -> Iterator[str]:
    """A process with the same server and a handler that does nothing."""
    port = 18996
    process = subprocess.Popen([sys.executable, __file__, "--bare", str(port)])
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def stand_in() -> Iterator[None]:
    """What answers when the connection is checked."""
    port = 18997
    process = subprocess.Popen([sys.executable, __file__, "--bare", str(port)])
    try:
        wait_for(port)
        yield
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("the bare handler does not answer")


async def serve_bare(port: int) -> None:
    body = b"x" * BARE_BYTES

    @get("/")
    async def nothing() -> Response[bytes]:
        return Response(body, media_type="application/json")

    @get("/v4/domains/mg.example.com")
    async def domain() -> dict[str, Any]:
        return {"domain": {"name": "mg.example.com", "state": "active", "is_disabled": False}}

    app = Litestar([nothing, domain], openapi_config=None)
    server = Server(
        app, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, http=HTTPModes.http1, log_enabled=False
    )
    await server.serve()


if __name__ == "__main__":
    main()
