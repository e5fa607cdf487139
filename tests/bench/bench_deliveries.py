"""How fast one worker process delivers: signed, durable, to a local receiver that is a process of its own.

    python tests/bench/bench_deliveries.py [throughput] [hanging] [tenants] [latency] [memory] [log] [--backlog 50000]

Starts PostgreSQL and Valkey as `penguin up` does, with their durable settings, publishes a backlog, then starts
`penguin worker` and times it at the receiver. The baseline is the worker's own HTTP client posting the same signed
bodies to the same receiver, without a database.
"""

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import psutil
import uvloop
from bench.load import machine
from penguin_hub import migrate, services
from penguin_hub import settings as settings_module
from penguin_hub.delivery.client import Client
from penguin_hub.delivery.jobs import keep_partitions
from penguin_hub.delivery.schemas import NewWebhook
from penguin_hub.events.schemas import NewEvent
from penguin_hub.http.idempotency import NEVER_ASKED
from penguin_hub.http.paging import Paging
from penguin_hub.http.principal import Principal
from penguin_hub.platform.embedded import DataFolder, Postgres, Valkey
from penguin_hub.services import Services
from penguin_hub.settings import Settings
from penguin_hub_sdk import signing
from support.tenants import make_principal

BODY = 1000
"""Bytes of an event's data."""
HERE = Path(__file__).parent
ENDPOINTS = 20
MILLION = 1_000_000


@dataclass
class Bench:
    at: Services
    settings: Settings
    environment: dict[str, str]
    sink: int
    backlog: int
    rows: int

    def url(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.sink}/{kind}"

    async def ask(self, path: str) -> Any:
        async with httpx.AsyncClient() as client:
            answer = await client.get(self.url(path))
            return answer.json() if path == "stats" else None

    async def wal(self) -> int:
        async with self.at.database.system() as connection:
            return int(await connection.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", default=["throughput", "latency"], help="what to measure")
    parser.add_argument("--backlog", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the log")
    wanted = parser.parse_args()
    print(machine())
    print("command: python tests/bench/bench_deliveries.py", *sys.argv[1:])
    async with _prepared(wanted.backlog, wanted.rows) as bench:
        for name in wanted.scenarios:
            await SCENARIOS[name](bench)


async def baseline(bench: Bench, count: int, width: int = 64) -> float:
    """Deliveries a second of the bare client: signed, posted, answered."""
    client = Client(allow=bench.settings.destination_allow)
    target = client.target(bench.url("ok"))
    signer = signing.parse(signing.new_secret())
    body = _data(0)["pad"].encode()
    left = iter(range(count))

    async def lane() -> None:
        for number in left:
            now = int(time.time())
            headers = {
                "content-type": "application/json",
                "webhook-id": f"evt_{number}",
                "webhook-timestamp": str(now),
                "webhook-signature": signing.signature([signer], f"evt_{number}", now, body),
            }
            answer = await client.post(target, headers, body)
            assert answer.status == 200

    started = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(width)))
    seconds = time.perf_counter() - started
    await client.close()
    return count / seconds


async def throughput(bench: Bench) -> None:
    """One tenant, a few endpoints."""
    principal = await make_principal(bench.at.database)
    await _endpoints(bench, principal, ["ok"] * ENDPOINTS)
    await _drain(bench, [principal], "throughput", per_event=ENDPOINTS)


async def hanging(bench: Bench) -> None:
    """A hundred tenants with an endpoint each: all well, then one in ten accepts and never answers."""
    for name, sick in (("all well", 0), ("10 % hanging", 10)):
        principals = [await make_principal(bench.at.database) for _ in range(100)]
        for number, principal in enumerate(principals):
            await _endpoints(bench, principal, ["hang" if sick and number % sick == 0 else "ok"])
        await _drain(bench, principals, name, per_event=1, share=0.9 if sick else 1.0)
        # What still waits for the hanging ones is not the next run's business.
        for principal in principals:
            for one in (await bench.at.webhooks.page(principal.tenant, Paging(limit=10), enabled=True)).data:
                await bench.at.webhooks.delete(principal.tenant, one.id)


async def tenants(bench: Bench) -> None:
    """A thousand tenants."""
    principals = [await make_principal(bench.at.database) for _ in range(1000)]
    for principal in principals:
        await _endpoints(bench, principal, ["ok"])
    await _drain(bench, principals, "1000 tenants", per_event=1)


async def latency(bench: Bench) -> None:
    """From before the publisher's transaction to the receiver, at a steady rate."""
    principal = await make_principal(bench.at.database)
    await _endpoints(bench, principal, ["ok"] * 5)
    async with _worker(bench):
        for rate in (200, 500):
            # Until the worker is there, has its connections, and owes nothing.
            await bench.ask("reset")
            await _publish_at(bench, principal, rate / 5, 2.0)
            while (await bench.ask("stats"))["count"] < rate * 2:
                await asyncio.sleep(0.1)
            await asyncio.sleep(1.0)
            await bench.ask("reset")
            await _publish_at(bench, principal, rate / 5, 10.0)
            await asyncio.sleep(1.0)
            stats = await bench.ask("stats")
            print(
                f"latency     {rate}/s: p50 {stats['p50_ms']} ms, p99 {stats['p99_ms']} ms, max {stats['max_ms']} ms "
                f"({stats['count']} deliveries)"
            )


async def memory(bench: Bench) -> None:
    """What the worker holds while a million deliveries wait, and how fast it is meanwhile."""
    principal = await make_principal(bench.at.database)
    await _endpoints(bench, principal, ["ok"] * ENDPOINTS)
    await _publish(bench, principal, MILLION // ENDPOINTS)
    await bench.ask("reset")
    peak = 0
    async with _worker(bench) as worker:
        while (stats := await bench.ask("stats"))["count"] < 100_000:
            await asyncio.sleep(0.2)
            peak = max(peak, worker.memory_info().rss)
    print(f"memory      backlog of {MILLION:,}: {peak / 2**20:.0f} MiB, {stats['count'] / stats['seconds']:,.0f}/s")


async def log(bench: Bench) -> None:
    """A page of 50 of a long delivery log, by filter."""
    principal = await make_principal(bench.at.database)
    tenant = principal.tenant
    wanted = NewWebhook(url=bench.url("ok"), events=["bench.*"])
    endpoint = (await bench.at.webhooks.create(principal, wanted, NEVER_ASKED)).id
    async with bench.at.database.system() as connection:
        for part in range(10):
            # One in a thousand failed; the ids are as dense as real ones, and sort.
            await connection.execute(
                """
                INSERT INTO deliveries
                SELECT $1, 'dlv_06' || lpad(n::text, 24, '0'), $2, 'evt_06' || lpad(n::text, 24, '0'), 'bench.event',
                    CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'succeeded' END, 1, 200, NULL, now()
                FROM generate_series($3::bigint, $4::bigint) AS n
                """,
                tenant,
                endpoint,
                part * bench.rows // 10,
                (part + 1) * bench.rows // 10 - 1,
                timeout=600,
            )
    for filters in ({}, {"status": "failed"}, {"status": "succeeded"}, {"webhook": endpoint, "status": "failed"}):
        times = []
        for _ in range(200):
            paging = Paging(limit=50, after=(None, f"dlv_06{random.randrange(bench.rows):024d}"))
            started = time.perf_counter()
            await bench.at.deliveries.page(tenant, paging, **filters)
            times.append(time.perf_counter() - started)
        times.sort()
        print(
            f"log         {bench.rows:,} rows, {'+'.join(filters) or 'all':<16} p50 {times[100] * 1000:.1f} ms, "
            f"p95 {times[190] * 1000:.1f} ms"
        )


SCENARIOS = {
    "throughput": throughput, "hanging": hanging, "tenants": tenants, "latency": latency, "memory": memory, "log": log,
}  # fmt: skip


async def _publish_at(bench: Bench, principal: Principal, rate: float, seconds: float) -> None:
    running: set[asyncio.Task[None]] = set()

    async def one() -> None:
        data = {"sent_at": time.time(), **_data(0)}
        async with bench.at.database.tenant(principal.tenant) as connection:
            await bench.at.events.add(connection, principal.tenant, NewEvent(type="bench.event", data=data))

    started = time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        task = asyncio.create_task(one())
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(running)


async def _drain(
    bench: Bench, principals: Sequence[Principal], name: str, *, per_event: int, share: float = 1.0
) -> None:
    before = await bench.wal()
    each = bench.backlog // per_event // len(principals)
    for principal in principals:
        await _publish(bench, principal, each)
    published = await bench.wal()
    expected = int(each * per_event * len(principals) * share)
    await bench.ask("reset")
    async with _worker(bench) as worker:
        peak = 0
        while (stats := await bench.ask("stats"))["count"] < expected:
            await asyncio.sleep(0.1)
            peak = max(peak, worker.memory_info().rss)
        cpu = worker.cpu_times()
        await asyncio.sleep(1.0)
        stats = await bench.ask("stats")
    delivered = await bench.wal()
    rate = stats["count"] / stats["seconds"]
    bare = await baseline(bench, 10_000)
    print(
        f"{name:<12}{rate:8,.0f} deliveries/s ({stats['count']} of {expected} in {stats['seconds']:.1f} s, "
        f"{stats['hanging']} hanging); bare client {bare:,.0f}/s; worker {peak / 2**20:.0f} MiB, "
        f"{cpu.user + cpu.system:.1f} s CPU; WAL {(published - before) / expected:,.0f} + "
        f"{(delivered - published) / expected:,.0f} bytes/delivery (publish + deliver)"
    )


async def _publish(bench: Bench, principal: Principal, count: int) -> None:
    for start in range(0, count, 200):
        async with bench.at.database.tenant(principal.tenant) as connection:
            made = [NewEvent(type="bench.event", data=_data(number)) for number in range(min(200, count - start))]
            await bench.at.events.add_many(connection, principal.tenant, made)


async def _endpoints(bench: Bench, principal: Principal, kinds: Sequence[str]) -> None:
    for kind in kinds:
        wanted = NewWebhook(url=bench.url(kind), events=["bench.*"])
        await bench.at.webhooks.create(principal, wanted, NEVER_ASKED)


def _data(number: int) -> dict[str, Any]:
    return {"number": number, "pad": "x" * BODY}


@asynccontextmanager
async def _worker(bench: Bench) -> AsyncIterator[psutil.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "penguin_hub.cli", "worker", env=bench.environment, stderr=subprocess.DEVNULL
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def _prepared(backlog: int, rows: int) -> AsyncIterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="penguin-bench-"))
    home = DataFolder(folder)
    home.prepare()
    home.lock()
    credentials = home.credentials()
    postgres = Postgres(home, credentials.postgres_password)
    valkey = Valkey(home, credentials.valkey_password)
    sink = await asyncio.create_subprocess_exec(sys.executable, HERE / "sink.py", stdout=subprocess.PIPE)
    assert sink.stdout is not None
    port = int(await sink.stdout.readline())
    try:
        await asyncio.gather(postgres.start(), valkey.start())
        own = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "PENGUIN_DATA": str(folder),
            "PENGUIN_DESTINATION_ALLOW": "127.0.0.1/32",
        }
        settings = settings_module.load(own, data=folder)
        await migrate.migrate(settings)
        async with services.opened(settings) as at:
            await keep_partitions(at.database)
            yield Bench(at, settings, {**os.environ, **own}, port, backlog, rows)
    finally:
        sink.terminate()
        await sink.wait()
        await asyncio.gather(postgres.stop(), valkey.stop())
        home.forget_sockets()
        home.unlock()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    uvloop.run(main())
