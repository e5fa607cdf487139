"""What authentication, rate limit and usage cost, and whether they hold under load.

    python tests/bench/bench_keys.py [added] [steady] [flood] [limits] [--seconds 10]

added    the same handler with and without them, one connection and 32: the difference of the medians (target 1.0 ms)
steady   A2: 1,000 requests a second with one key; p95, errors, runs of bcrypt
flood    A3: well-formed random keys as fast as they go, beside a customer who asks at a steady rate
limits   A21: four processes' worth of limiters on one key for each plan, `--seconds 125` for the whole promise

Starts PostgreSQL and Valkey as `penguin up` does, and one API process with a handler that does nothing.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import uvloop
from bench.load import Result, load, machine, request, resident
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from penguin_hub import migrate, services
from penguin_hub import settings as settings_module
from penguin_hub.http.principal import Authentication
from penguin_hub.keys import format as key_format
from penguin_hub.keys.gate import KeyGate
from penguin_hub.keys.hashing import RUNS
from penguin_hub.keys.schemas import NewApiKey
from penguin_hub.keys.service import command_line
from penguin_hub.limits.service import Limiter
from penguin_hub.platform import ids
from penguin_hub.platform.embedded import DataFolder, Postgres, Valkey
from penguin_hub.platform.redis import Redis
from penguin_hub.settings import Settings
from penguin_hub.tenants.plans import PLANS

MANY = 100_000_000


@dataclass
class Bench:
    settings: Settings
    key: str
    url: str
    pid: int
    seconds: float

    async def bcrypt_runs(self) -> int:
        return int(await _body(self.url, request("GET", "/bcrypt")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", default=["added", "steady", "flood"], help="what to measure")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.serve:
        uvloop.run(serve(settings_module.load(os.environ), wanted.serve))
    else:
        asyncio.run(measure(wanted.scenarios, wanted.seconds))


async def measure(scenarios: list[str], seconds: float) -> None:
    print(machine())
    async with prepared(seconds) as bench:
        for name in scenarios:
            await SCENARIOS[name](bench)


async def added(bench: Bench) -> None:
    bare, whole = request("GET", "/bare"), request("GET", "/api/v1/ping", key=bench.key)
    for connections in (1, 32):
        results: dict[str, list[Result]] = {"without": [], "with": []}
        for _ in range(3):
            results["without"].append(await load(bench.url, [bare], connections=connections, seconds=bench.seconds / 6))
            results["with"].append(await load(bench.url, [whole], connections=connections, seconds=bench.seconds / 6))
        medians = {}
        for name, runs in results.items():
            best = min(runs, key=lambda run: run.percentile(0.5))
            medians[name] = best.percentile(0.5)
            print(f"added, {connections:2} connections, {name:7}: {best}")
        print(f"added, {connections:2} connections: {medians['with'] - medians['without']:.3f} ms at the median")
    print(f"added: bcrypt ran {await bench.bcrypt_runs()} time(s); the process holds {resident(bench.pid):.0f} MiB")


async def steady(bench: Bench) -> None:
    before = await bench.bcrypt_runs()
    result = await paced(bench, rate=1000, seconds=bench.seconds)
    print(f"steady, 1,000/s: {result}; bcrypt ran {await bench.bcrypt_runs() - before} time(s)")


async def flood(bench: Bench) -> None:
    before = await bench.bcrypt_runs()
    alone = await paced(bench, rate=100, seconds=bench.seconds / 2)
    guesses = [request("GET", "/api/v1/ping", key=key_format.generate("live")) for _ in range(200_000)]
    strangers, customer = await asyncio.gather(
        load(bench.url, guesses, connections=32, seconds=bench.seconds),
        paced(bench, rate=100, seconds=bench.seconds),
    )
    print(f"flood, the customer alone     : {alone}")
    print(f"flood, the customer beside it : {customer}")
    print(f"flood, strangers              : {strangers}; bcrypt ran {await bench.bcrypt_runs() - before} time(s)")


async def limits(bench: Bench) -> None:
    for name, plan in PLANS.items():
        redises = [Redis(bench.settings.redis_url) for _ in range(4)]
        tenant, subject, limit = ids.new("ten"), ids.new("key"), plan.requests_per_minute
        accepted, started = 0, time.monotonic()

        async def hammer(limiter: Limiter, tenant: str, subject: str, limit: int, started: float) -> int:
            given_out = 0
            account = limiter.account(tenant, subject, limit, 1)
            while time.monotonic() - started < bench.seconds:
                decision = await limiter.take(account, fresh=1)
                given_out += decision is not None and decision.allowed
            return given_out

        accepted = sum(
            await asyncio.gather(
                *(hammer(Limiter(redis), tenant, subject, limit, started) for redis in redises for _ in range(2))
            )
        )
        took = time.monotonic() - started
        right = limit + limit / 60 * took
        print(f"limits, {name:10}: {accepted} accepted in {took:.2f} s, {right:.1f} are right")
        for redis in redises:
            await redis.close()


SCENARIOS = {"added": added, "steady": steady, "flood": flood, "limits": limits}


async def paced(bench: Bench, *, rate: int, seconds: float) -> Result:
    """One key at a steady rate, whatever the answers take: latency counts from when a request was due."""
    raw = request("GET", "/api/v1/ping", key=bench.key)
    host, _, port = bench.url.removeprefix("http://").partition(":")
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    started = time.perf_counter() + 0.2

    async def lane(first: int, step: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in range(first, int(rate * seconds), step):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(raw)
            status = await _answer(reader)
            latencies.append(time.perf_counter() - due)
            statuses[status[0]] = statuses.get(status[0], 0) + 1
        writer.close()

    await asyncio.gather(*(lane(number, 16) for number in range(16)))
    return Result(seconds, latencies, statuses)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length)


async def _body(url: str, raw: bytes) -> bytes:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    _, body = await _answer(reader)
    writer.close()
    return body


async def serve(settings: Settings, port: int) -> None:
    """The API process: one handler that does nothing, bare and behind the gate."""

    async def handler(scope: Any, receive: Any, send: Any) -> None:
        body = b'{"ok":true}'
        if scope["path"] == "/bcrypt":
            body = str(int(RUNS.labels("key")._value.get())).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async with services.opened(settings) as at:
        limiter = Limiter(at.redis, fixed=MANY)
        gate = KeyGate(at.database, at.redis, at.secrets, limiter, at.hasher, at.sessions)
        await gate.open()
        server = Server(
            Authentication(handler, gate),
            address="127.0.0.1",
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        await server.serve()
        await gate.close()


@asynccontextmanager
async def prepared(seconds: float) -> AsyncIterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="penguin-bench-"))
    home = DataFolder(folder)
    home.prepare()
    home.lock()
    credentials = home.credentials()
    postgres, valkey = Postgres(home, credentials.postgres_password), Valkey(home, credentials.valkey_password)
    process = None
    try:
        await asyncio.gather(postgres.start(), valkey.start())
        settings = _settings(folder, postgres.url, valkey.url)
        await migrate.migrate(settings)
        async with services.opened(settings) as at:
            made = await at.tenants.create_tenant("Bench", owner_email="bench@example.com")
            key = await at.keys.create(command_line(made.tenant), NewApiKey(name="Bench", scopes=["send_email"]))
        port = _free_port()
        environment = {"PENGUIN_DATA": str(folder), "DATABASE_URL": postgres.url, "REDIS_URL": valkey.url}
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--serve", str(port), env={**os.environ, **environment}
        )
        url = f"http://127.0.0.1:{port}"
        await _listening(port)
        yield Bench(settings, key.key, url, process.pid, seconds)
    finally:
        if process is not None:
            process.terminate()
            await process.wait()
        await asyncio.gather(postgres.stop(), valkey.stop())
        home.forget_sockets()
        home.unlock()
        shutil.rmtree(folder, ignore_errors=True)


def _settings(folder: Path, database_url: str, redis_url: str) -> Settings:
    return settings_module.build({}, data=folder, database_url=database_url, redis_url=redis_url)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _listening(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise RuntimeError("the API process does not listen")


if __name__ == "__main__":
    main()
