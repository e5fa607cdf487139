"""A receiver that costs little: raw HTTP/1.1, one process. `/ok` answers at once, `/hang` never; `/stats` tells.

Run as a script it prints its port on the first line and serves until it is killed.
"""

import asyncio
import json
import time
from typing import Any

_OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"
_MARK = b'"sent_at":'


class Stats:
    """What came."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.count = 0
        self.hanging = 0
        self.first = 0.0
        self.last = 0.0
        self.latencies: list[float] = []

    def answer(self) -> bytes:
        ordered = sorted(self.latencies)

        def at(share: float) -> float | None:
            return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 2) if ordered else None

        body = json.dumps(
            {
                "count": self.count,
                "hanging": self.hanging,
                "seconds": self.last - self.first,
                "p50_ms": at(0.5),
                "p99_ms": at(0.99),
                "max_ms": at(1),
            }
        ).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Sink(asyncio.Protocol):
    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._buffer = bytearray()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end])
            lower = head.lower()
            at = lower.find(b"content-length:")
            length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            self._one(head, body)

    def _one(self, head: bytes, body: bytes) -> None:
        stats = self._stats
        if head.startswith(b"POST /hang"):
            stats.hanging += 1
        elif head.startswith(b"POST"):
            now = time.time()
            stats.count += 1
            stats.last = now
            stats.first = stats.first or now
            if (mark := body.find(_MARK)) >= 0:
                stats.latencies.append(now - float(body[mark + len(_MARK) :].split(b",", 1)[0].rstrip(b"}")))
            self._transport.write(_OK)
        elif head.startswith(b"GET /reset"):
            stats.reset()
            self._transport.write(_OK)
        else:
            self._transport.write(stats.answer())


async def main() -> None:
    stats = Stats()
    server = await asyncio.get_running_loop().create_server(lambda: Sink(stats), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
