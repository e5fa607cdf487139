"""The real wire and ctx.net against servers on this machine: what must come out of sockets, not of our own scripts."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from penguin_hub_sdk import errors
from penguin_hub_sdk.addresses import networks
from penguin_hub_sdk.config import Config
from penguin_hub_sdk.http import Http, HttpPolicy
from penguin_hub_sdk.manifest import Manifest
from penguin_hub_sdk.tcp import Tcp

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
LOOPBACK = networks(["127.0.0.1/32"])
MANIFEST = Manifest(
    id="acme", name="Acme", version="1.0.0", category="email", summary="x", hosts=("api.acme.test", "{host}")
)


class Settings(Config, frozen=True):
    host: str | None = None


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[int]:
    """Calls the handler with the head of each request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await handler(head, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


@asynccontextmanager
async def client(port: int, host: str = "api.acme.test") -> AsyncIterator[Http]:
    policy = HttpPolicy.of(MANIFEST, None, overrides={host: f"http://127.0.0.1:{port}"})
    http = Http(policy)
    try:
        yield http
    finally:
        await http.aclose()


async def _ok(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nok")


async def test_a_call_and_a_second_on_the_same_connection() -> None:
    heads: list[tuple[bytes, object]] = []

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append((head, writer.get_extra_info("peername")))
        await _ok(head, writer)

    async with server(handler) as port, client(port) as http:
        first = await http.get("https://api.acme.test/a?b=c")
        await http.get("https://api.acme.test/a")
    assert (first.status, first.body, first.headers["x-a"]) == (200, b"ok", "1, 2")
    assert heads[0][0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert heads[0][1] == heads[1][1]


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with server(_ok) as port, client(port) as http:
        assert (await http.get("https://api.acme.test/")).body == b"ok"


async def test_a_redirect_is_not_followed() -> None:
    seen: list[bytes] = []

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(head.split(b" ")[1])
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /second\r\nContent-Length: 0\r\n\r\n")

    async with server(handler) as port, client(port) as http:
        with pytest.raises(errors.BadAnswer):
            await http.post("https://api.acme.test/first")
    assert seen == [b"/first"]


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/9.9 garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort"]
)
async def test_broken_answers(answer: bytes) -> None:
    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with server(handler) as port, client(port) as http:
        with pytest.raises(errors.NetworkFailed):
            await http.post("https://api.acme.test/")


async def test_an_endless_body_and_a_slow_one_end() -> None:
    async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65536)
            await writer.drain()

    async def slow(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with server(endless) as port, client(port) as http:
        with pytest.raises(errors.BadAnswer):
            await http.post("https://api.acme.test/")
    async with server(slow) as port, client(port) as http:
        with pytest.raises(errors.NetworkFailed, match="within"):
            await http.post("https://api.acme.test/", timeout=0.2)


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client(taken.getsockname()[1]) as http:
            with pytest.raises(errors.NetworkFailed, match="cannot be reached"):
                await http.post("https://api.acme.test/", timeout=2)


class _Names:
    """The system's resolver, scripted: each look-up takes the next answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
        self.answers, self.asked = list(answers), 0
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.getaddrinfo)

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        text = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [(2, 1, 6, "", (text, port))]


async def test_p20_w43_a_name_that_rebinds_is_connected_to_where_it_was_vetted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener is on 127.0.0.1; the first answer is another address of the loopback, which is allowed and dead."""
    reached: list[bytes] = []

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        reached.append(head)
        await _ok(head, writer)

    async with server(handler) as port:
        names = _Names(monkeypatch, "127.0.0.2", "127.0.0.1")
        tcp = Tcp(MANIFEST, Settings(host="rebind.test"), allow=networks(["127.0.0.2/32"]))
        with pytest.raises(errors.NetworkFailed):
            await tcp.connect("rebind.test", port)
        assert names.asked == 1, "the name is looked up once, and what was vetted is what is connected to"
        with pytest.raises(errors.NetworkFailed):
            await tcp.connect("rebind.test", port)
        assert names.asked == 2
    assert reached == []


async def test_p20_http_refuses_a_declared_name_that_leads_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[bytes] = []

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        reached.append(head)

    async with server(handler) as port:
        for address in ("127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"):
            _Names(monkeypatch, address)
            settings = Settings(host=f"inside.test:{port}")
            http = Http(HttpPolicy.of(MANIFEST, settings), settings)
            with pytest.raises(errors.NetworkFailed, match=r"^inside\.test cannot be reached\.$"):
                await http.get(f"https://inside.test:{port}/", retry=False)
            await http.aclose()
    assert reached == []


async def test_tls_of_an_unknown_authority_is_refused_before_a_byte_of_the_request() -> None:
    """The listener answers the handshake with plain text, which no TLS client takes."""
    got = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.read(4096))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = running.sockets[0].getsockname()[1]
    settings = Settings(host=f"127.0.0.1:{port}")
    http = Http(HttpPolicy.of(MANIFEST, settings, allow=LOOPBACK), settings)
    with pytest.raises(errors.NetworkFailed, match="TLS"):
        await http.get(f"https://127.0.0.1:{port}/secret-path", retry=False)
    await http.aclose()
    running.close()
    assert b"secret-path" not in got


async def test_tcp_connects_only_where_it_may() -> None:
    async with server(_ok) as port:
        tcp = Tcp(MANIFEST, Settings(host="127.0.0.1"), allow=LOOPBACK)
        link = await tcp.connect("127.0.0.1", port)
        assert link.getpeername() == ("127.0.0.1", port)
        assert link.gettimeout() == 0
        link.close()
        for host in ("127.0.0.2", "0x7f.1", "evil.test"):
            with pytest.raises(errors.ConfigInvalid):
                await tcp.connect(host, port)
        with pytest.raises(errors.ConfigInvalid):
            await tcp.connect("127.0.0.1", 0)
        with pytest.raises(errors.ConfigInvalid):
            await Tcp(MANIFEST, Settings(host="127.0.0.1")).connect("127.0.0.1", port)
    with pytest.raises(errors.NetworkFailed):
        await tcp.connect("127.0.0.1", port)
