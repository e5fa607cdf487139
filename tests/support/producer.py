"""Tenants that publish and send while a hub is being broken, and the log of what the hub said it accepted.

Each operation has a number, an Idempotency-Key, and is tried again until the hub says 2xx. A line is in the log, and on
the disk, before anybody counts on it: `tried` before the first try, `accepted` when the hub answered 2xx.
"""

import asyncio
import itertools
import json
import os
import random
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp
from penguin_hub.http.guards import SCOPES
from penguin_hub.keys.schemas import NewApiKey
from penguin_hub.keys.service import command_line
from penguin_hub.runtime.services import opened
from penguin_hub.settings import Settings

from support.sink import Sink

USER, PASSWORD = "penguin", "webhook-password"
POSTMARK = "api.postmarkapp.com"
RETRY = [0.2, 0.4]
"""Seconds before each retry of the endpoints that fail."""
TRY_SECONDS = 10.0
PAUSE_SECONDS = 0.15
AT_ONCE = 48
"""Operations under way at most: a producer that outruns the hub makes a backlog that looks like loss."""

Kind = Literal["event", "batch", "email", "inbound"]
KINDS: tuple[Kind, ...] = ("event", "batch", "email", "inbound")


@dataclass
class Endpoint:
    name: str
    id: str
    kind: str
    events: Sequence[str]
    secret: str


@dataclass
class Tenant:
    id: str
    live_key: str
    test_key: str
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    postmark: str | None = None
    """The connection through which its live mail goes."""


@dataclass(frozen=True)
class Accepted:
    """What the hub promised to deliver."""

    op: str
    kind: Kind
    tenant: str
    ids: tuple[str, ...]
    """Events (`evt_`), or the message (`eml_`)."""


@dataclass
class Log:
    """On disk line by line; in memory for the checker."""

    path: Path
    tried: dict[str, tuple[Kind, str]] = field(default_factory=dict)
    """Kind and tenant of every operation that was ever begun."""
    accepted: list[Accepted] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    """Every answer, by status; `broken` is a connection that ended without one."""
    surprises: list[str] = field(default_factory=list)
    """Answers that no fault excuses."""

    async def write(self, line: Mapping[str, Any]) -> None:
        await asyncio.to_thread(self._write, json.dumps(line).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fdatasync(file.fileno())


class Producer:
    """Needs the URLs of one or more API processes; a try that fails goes to the next one."""

    def __init__(
        self, session: aiohttp.ClientSession, urls: Sequence[str], tenants: Sequence[Tenant], log: Log
    ) -> None:
        self.log = log
        self.tenants = tenants
        self.urls = list(urls)
        self._session = session
        self._turn = itertools.count()
        self._numbers = itertools.count(1)
        self._run = os.urandom(4).hex()

    # Load

    async def load(
        self, stop: asyncio.Event, rate: float, *, kinds: Sequence[Kind] = KINDS, patience: float = 40.0
    ) -> None:
        """So many operations a second until `stop`; then those under way are tried on until they are accepted."""
        gate = asyncio.Semaphore(AT_ONCE)
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                now = loop.time()
                if due > now:
                    await asyncio.sleep(due - now)
                # What could not be begun in time is not made up for: that would be a flood after each outage.
                due = max(due + 1 / rate, now)
                await gate.acquire()
                kind = kinds[next(self._turn) % len(kinds)]
                task = group.create_task(self.do(kind, random.choice(self.tenants), patience=patience))
                task.add_done_callback(lambda _: gate.release())

    async def do(self, kind: Kind, tenant: Tenant, *, patience: float = 40.0) -> Accepted | None:
        """One operation until it is accepted; None when the hub did not accept it within `patience` seconds."""
        op = f"{self._run}-{next(self._numbers)}"
        self.log.tried[op] = (kind, tenant.id)
        await self.log.write({"tried": op, "kind": kind, "tenant": tenant.id})
        path, key, body = self.request(op, kind, tenant)
        answer = await self.persist(path, key, body, op, patience)
        if answer is None:
            return None
        ids = self.ids(kind, answer)
        if kind == "inbound" and not await self.report(tenant, ids[0], op, patience):
            # The message is promised, what becomes of it is not.
            kind = "email"
        accepted = Accepted(op, kind, tenant.id, ids)
        await self.log.write({"accepted": op, "kind": kind, "tenant": tenant.id, "ids": ids})
        self.log.accepted.append(accepted)
        return accepted

    def ids(self, kind: Kind, answer: Any) -> tuple[str, ...]:
        """What an answer promises: events, or the message."""
        if kind == "batch":
            return tuple(one["event_id"] for one in answer["data"])
        return (answer.get("event_id") or answer["id"],)

    def request(self, op: str, kind: Kind, tenant: Tenant) -> tuple[str, str, Any]:
        """Path, key and body of an operation."""
        if kind == "event":
            return "/api/v1/events", tenant.live_key, event(op, tenant)
        if kind == "batch":
            return "/api/v1/events", tenant.live_key, [event(op, tenant, part) for part in range(5)]
        live = kind == "inbound"
        message = {
            "from": "sender@example.com",
            "to": f"deliver@{op}.example.com",
            "subject": f"Round {op}",
            "text": "Hello",
            "metadata": {"op": op, "tenant": tenant.id},
        }
        if live:
            message["connection"] = tenant.postmark or ""
        return "/api/v1/emails/send", tenant.live_key if live else tenant.test_key, message

    async def send(self, tenant: Tenant) -> tuple[str, str]:
        """A live message; its operation, and its id."""
        op = f"{self._run}-{next(self._numbers)}"
        self.log.tried[op] = ("inbound", tenant.id)
        path, key, body = self.request(op, "inbound", tenant)
        return op, (await self.must("POST", path, key, body))["id"]

    async def report(self, tenant: Tenant, email: str, op: str, patience: float = 40.0) -> bool:
        """The provider tells what became of the message; it too repeats itself until it is heard."""
        body = {
            "RecordType": "Delivery",
            "MessageID": f"00000000-0000-0000-0000-{op[-12:].replace('-', '0'):0>12}",
            "ServerID": 23,
            "MessageStream": "outbound",
            "Tag": "",
            "Metadata": {"hub-email-id": email},
            "Recipient": f"deliver@{op}.example.com",
            "DeliveredAt": "2026-11-20T10:15:30.1234567Z",
            "Details": "smtp;250 2.0.0 OK",
        }
        login = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        path = f"/api/webhooks/postmark/{tenant.postmark}"
        return await self.persist(path, None, body, op, patience, {"authorization": f"Basic {login}"}) is not None

    async def persist(
        self, path: str, key: str | None, body: Any, op: str, patience: float, headers: Mapping[str, str] | None = None
    ) -> Any:
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while True:
            status, answer = await self.ask("POST", path, key, body, {"idempotency-key": op, **(headers or {})})
            if status is not None and 200 <= status < 300:
                return answer or {}
            if not _is_excused(status, answer):
                self.log.surprises.append(f"{path}: {status} {json.dumps(answer)[:300]}")
                return None
            if loop.time() >= end:
                return None
            await asyncio.sleep(PAUSE_SECONDS)

    async def ask(
        self, method: str, path: str, key: str | None, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int | None, Any]:
        """One request. The status is None when the connection ended without an answer."""
        url = self.urls[next(self._turn) % len(self.urls)] + path
        sent = {**({"authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
        try:
            async with self._session.request(method, url, json=body, headers=sent) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.log.answers["broken"] += 1
            return None, None
        self.log.answers[str(answer.status)] += 1
        try:
            return answer.status, json.loads(raw) if raw else None
        except ValueError:
            return answer.status, raw.decode(errors="replace")

    async def must(self, method: str, path: str, key: str, body: Any = None) -> Any:
        """For what is done before and after the faults."""
        status, answer = await self.ask(method, path, key, body)
        assert status in (200, 201, 202, 204), (method, path, status, answer)
        return answer

    # Tenants

    async def furnish(
        self, tenant: Tenant, sink: Sink, kinds: Iterable[str], *, events: Sequence[str] = ("*",)
    ) -> None:
        """An endpoint of each kind (named like it; a second of the kind is `ok2`)."""
        for kind in kinds:
            name = kind
            while name in tenant.endpoints:
                name = f"{kind}{int(name.removeprefix(kind) or 1) + 1}"
            body: dict[str, Any] = {"url": sink.endpoint(kind, tenant.id, name), "events": list(events)}
            if kind in ("dead", "flaky"):
                body["retry"] = RETRY
            made = await self.must("POST", "/api/v1/webhooks", tenant.live_key, body)
            tenant.endpoints[name] = Endpoint(name, made["id"], kind, events, made["secret"])

    async def connect(self, tenant: Tenant) -> None:
        """A Postmark connection, to the stand-in."""
        config = {"server_token": "token", "webhook_username": USER, "webhook_password": PASSWORD}
        made = await self.must("POST", "/api/v1/connections", tenant.live_key, {"plugin": "postmark", "config": config})
        tenant.postmark = made["id"]


def _is_excused(status: int | None, answer: Any) -> bool:
    """What a client must expect of a hub in trouble: no answer, 503, or that its first try is still at work."""
    code = answer.get("code") if isinstance(answer, dict) else None
    return status is None or status == 503 or (status == 409 and code == "idempotency_key_in_use")


def event(op: str, tenant: Tenant, part: int = 0) -> dict[str, Any]:
    """The first member is a float and the second has an escape, which a careless relay would respell."""
    return {
        "type": "order.placed",
        "data": {"total": 1.0, "note": "\u2028/\u00e9", "op": op, "part": part, "tenant": tenant.id},
    }


def provider(sink: Sink) -> None:
    """Make the sink answer as Postmark does: each message is taken, and counted by the hub's id of it."""

    def take(message: Mapping[str, Any]) -> dict[str, Any]:
        number = message["Metadata"]["hub-email-id"]
        sink.sent[number] += 1
        return {"ErrorCode": 0, "Message": "OK", "MessageID": f"pm-{number}", "SubmittedAt": "2026-11-20T10:00:00Z"}

    def answer(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if method == "GET":
            return 200, b'{"ID":1,"Name":"Server"}'
        found = json.loads(body)
        made = [take(one) for one in found] if isinstance(found, list) else take(found)
        return 200, json.dumps(made).encode()

    sink.provider = answer


def overrides(sink: Sink) -> dict[str, str]:
    """The environment that sends Postmark's traffic to the sink, and lifts the limit of requests."""
    return {
        "PENGUIN_PROVIDER_OVERRIDES": json.dumps({POSTMARK: f"{sink.url}/provider"}),
        "PENGUIN_RATE_LIMIT": "1000000",
        "PENGUIN_DESTINATION_ALLOW": "127.0.0.1/32",
    }


async def settle_tenants(settings: Settings, count: int) -> list[Tenant]:
    """Tenants with a live key that may do everything and a test key."""
    made = []
    async with opened(settings) as services:
        for number in range(count):
            new = await services.tenants.create_tenant(
                f"Tenant {number}", "enterprise", owner_email=f"o{number}@x.example"
            )
            by = command_line(new.tenant)
            live, test = await asyncio.gather(
                services.keys.create(by, NewApiKey(name="live", scopes=list(SCOPES), admin=True)),
                services.keys.create(by, NewApiKey(name="test", scopes=list(SCOPES), environment="test")),
            )
            made.append(Tenant(new.tenant.id, live.key, test.key))
    return made


@asynccontextmanager
async def producing(urls: Sequence[str], tenants: Sequence[Tenant], log: Path) -> AsyncIterator[Producer]:
    timeout = aiohttp.ClientTimeout(total=TRY_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield Producer(session, urls, tenants, Log(log))
