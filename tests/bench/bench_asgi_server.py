"""Granian three ways: throughput and memory of one API process that answers a small JSON document.

    python tests/bench/bench_asgi_server.py

`embedded` is what `penguin serve` runs: granian inside this process. `multiprocess` and `threads` are granian's own
supervisors with one worker; the baseline beside them in the same run. 32 connections, keep-alive, loop uvloop.
"""

import asyncio
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import psutil
import uvloop

CONNECTIONS = 32
REQUESTS = 40_000
ROUNDS = 3
REQUEST = b"GET /api/v1/thing HTTP/1.1\r\nHost: bench\r\n\r\n"


def application() -> Any:
    from litestar import Litestar, get

    @get("/api/v1/thing")
    async def thing() -> dict[str, str]:
        return {"id": "con_06f3k2", "status": "ok"}

    return Litestar([thing], openapi_config=None, logging_config=None)


def serve(mode: str, port: int) -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
    from granian.server.embed import Server

    common: dict[str, Any] = {
        "address": "127.0.0.1",
        "port": port,
        "interface": Interfaces.ASGI,
        "http": HTTPModes.http1,
        "websockets": False,
        "backlog": 1024,
        "log_enabled": False,
    }
    if mode == "embedded":

        async def run() -> None:
            server = Server(application(), **common)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
            await server.serve()

        uvloop.run(run())
        return
    runtime = RuntimeModes.st if mode == "threads" else RuntimeModes.mt
    os.environ["PYTHONPATH"] = os.path.dirname(__file__)
    sys.path.insert(0, os.path.dirname(__file__))
    Granian("bench_asgi_server:application", factory=True, loop=Loops.uvloop, runtime_mode=runtime, **common).serve()


class Client(asyncio.Protocol):
    left = 0
    done: asyncio.Future[None]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.times: list[float] = []
        self.ask()

    def ask(self) -> None:
        self.asked = time.perf_counter()
        self.transport.write(REQUEST)

    def data_received(self, _: bytes) -> None:
        self.times.append(time.perf_counter() - self.asked)
        Client.left -= 1
        if Client.left > 0:
            self.ask()
        elif not Client.done.done():
            Client.done.set_result(None)


async def load(port: int) -> tuple[float, float]:
    """Requests per second, and the 99th percentile in milliseconds."""
    loop = asyncio.get_running_loop()
    Client.left, Client.done = REQUESTS, loop.create_future()
    began = time.perf_counter()
    clients = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]
    await Client.done
    seconds = time.perf_counter() - began
    times = sorted(one for client in clients for one in client.times)
    for client in clients:
        client.transport.close()
    return REQUESTS / seconds, times[int(len(times) * 0.99)] * 1000


def measured(mode: str) -> dict[str, Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen((sys.executable, __file__, mode, str(port)))
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        rounds = [uvloop.run(load(port)) for _ in range(ROUNDS)]
        own = psutil.Process(process.pid)
        family = [own, *own.children(recursive=True)]
        resident = [round(one.memory_info().rss / 2**20) for one in family]
    finally:
        process.terminate()
        process.wait()
    best = max(rounds)
    return {"mode": mode, "per_second": round(best[0]), "p99_ms": round(best[1], 2), "rss_mib": resident}


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; best of {ROUNDS} rounds")
    for mode in ("embedded", "multiprocess", "threads"):
        print(json.dumps(measured(mode)), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(sys.argv[1], int(sys.argv[2]))
    else:
        main()
