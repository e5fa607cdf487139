"""A load generator that costs little itself: raw HTTP/1.1 over kept-alive connections, in the caller's event loop."""

import asyncio
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Result:
    """What one run measured."""

    seconds: float
    latencies: list[float] = field(repr=False)
    """Seconds of each answered request, unsorted."""
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

    def __str__(self) -> str:
        odd = {status: count for status, count in self.statuses.items() if not 200 <= status < 300}
        return (
            f"{self.rate:8,.0f}/s   p50 {self.percentile(0.5):6.2f} ms   p95 {self.percentile(0.95):6.2f} ms   "
            f"p99 {self.percentile(0.99):6.2f} ms" + (f"   NOT 2xx: {odd}" if odd else "")
        )


class _Client(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = bytearray()
        self._waiter: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        length_at = head.find(b"content-length:")
        if length_at < 0:
            raise RuntimeError(f"an answer without content-length: {head!r}")
        length = int(head[length_at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        del self._buffer[: end + 4 + length]
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionResetError("closed"))

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    async def ask(self, request: bytes) -> int:
        self._waiter = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        self._transport.write(request)
        return await self._waiter


async def load(
    url: str, requests: Sequence[bytes], *, connections: int, seconds: float, warm_up: float = 1.0
) -> Result:
    """`connections` clients, each asking the next of `requests` as soon as it is answered, for `seconds`."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(_Client, parts.hostname, parts.port))[1] for _ in range(connections)]
    started = loop.time() + warm_up
    end = started + seconds
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    turn = 0

    async def drive(client: _Client) -> None:
        nonlocal turn
        while (before := time.perf_counter()) and loop.time() < end:
            turn += 1
            status = await client.ask(requests[turn % len(requests)])
            if loop.time() > started:
                latencies.append(time.perf_counter() - before)
                statuses[status] = statuses.get(status, 0) + 1

    await asyncio.gather(*(drive(client) for client in clients))
    for client in clients:
        client.close()
    return Result(seconds, latencies, statuses)


def request(method: str, path: str, *, key: str | None = None, body: bytes = b"", headers: str = "") -> bytes:
    """One request's bytes."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1"]
    if key:
        lines.append(f"authorization: Bearer {key}")
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    if headers:
        lines.append(headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def machine() -> str:
    """The machine a figure was measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    cores = sum(line.startswith("processor") for line in lines)
    memory = Path("/proc/meminfo").read_text().split()[1] if Path("/proc/meminfo").exists() else "0"
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{cores} x {model}, {int(memory) // 1024 // 1024} GiB, {system}"


def resident(pid: int) -> float:
    """MiB that a process and its children hold in memory now (proportional set size, so shared pages count once)."""
    import psutil

    process = psutil.Process(pid)
    return float(sum(p.memory_full_info().pss for p in [process, *process.children(recursive=True)]) / 1024 / 1024)
