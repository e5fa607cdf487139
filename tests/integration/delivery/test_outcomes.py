"""What becomes of one attempt: CASES W1 to W15, and what a tenant is told (W44)."""

import asyncio
import gzip
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from penguin_hub.delivery.client import MAX_BODY, Client
from support.certificates import Authority
from support.delivery import LOCAL, Call, Engine, Receiver, status


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_w01_any_2xx_is_success_with_one_attempt(engine: Engine, receiver: Receiver, code: int) -> None:
    receiver.answers["/"] = status(code) if code != 204 else b"HTTP/1.1 204 No Content\r\n\r\n"
    await engine.endpoint(receiver.url(), retry=[0.1])
    await engine.publish()
    async with engine.working():
        (delivery,) = await engine.finished()
    assert (delivery.status, delivery.attempts, delivery.last_status) == ("succeeded", 1, code)
    assert len(receiver.calls) == 1


@pytest.mark.parametrize("code", [300, 304, 400, 401, 404, 409, 500, 503])
async def test_w02_anything_else_fails_and_is_tried_again(engine: Engine, receiver: Receiver, code: int) -> None:
    receiver.answers["/"] = [status(code), status(200)]
    await engine.endpoint(receiver.url(), retry=[0.1])
    await engine.publish()
    async with engine.working():
        (delivery,) = await engine.finished()
    assert [attempt.status for attempt in delivery.attempt_log] == [code, 200]
    assert delivery.attempt_log[0].error == ("redirect" if code < 400 else "status")
    assert delivery.status == "succeeded"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_w03_a_redirect_is_not_followed(engine: Engine, receiver: Receiver, code: int) -> None:
    receiver.answers["/"] = status(code, f"location: {receiver.url('/second')}")
    await engine.endpoint(receiver.url())
    await engine.publish()
    async with engine.working():
        (delivery,) = await engine.finished()
    assert (delivery.status, delivery.last_status) == ("failed", code)
    assert not receiver.at("/second")


async def test_w04_a_redirect_to_the_inside_connects_nowhere(engine: Engine, receiver: Receiver) -> None:
    inside: list[object] = []
    server = await asyncio.start_server(lambda *_: inside.append(1), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    receiver.answers["/"] = status(302, f"location: http://127.0.0.1:{port}/")
    await engine.endpoint(receiver.url())
    await engine.publish()
    async with engine.working():
        await engine.finished()
    server.close()
    await server.wait_closed()
    assert not inside


async def test_w05_gone_disables_the_endpoint_and_no_other(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/gone"] = status(410)
    gone = await engine.endpoint(receiver.url("/gone"), retry=[0.1, 0.1], events=["test.*"])
    other = await engine.endpoint(receiver.url("/other"), events=["*", "endpoint.*"])
    await engine.publish()
    async with engine.working():
        await receiver.until(lambda: len(receiver.at("/other")) == 2)
        await engine.publish()
        await receiver.until(lambda: len(receiver.at("/other")) == 3)
        await engine.finished(4)
    assert len(receiver.at("/gone")) == 1
    shown = await engine.webhooks.get(engine.tenant, gone.id)
    assert (shown.enabled, shown.disabled_reason) == (False, "gone")
    assert (await engine.webhooks.get(engine.tenant, other.id)).enabled
    told = [call for call in receiver.at("/other") if b'"endpoint.disabled"' in call.body]
    assert len(told) == 1
    assert gone.id.encode() in told[0].body


@pytest.mark.parametrize("code", [429, 502, 503, 504])
async def test_w06_w07_retry_after_is_honoured(engine: Engine, receiver: Receiver, code: int) -> None:
    receiver.answers["/"] = [status(code, "retry-after: 1"), status(200)]
    await engine.endpoint(receiver.url(), retry=[0.1])
    await engine.publish()
    async with engine.working():
        await engine.finished()
    first, second = receiver.calls
    assert 0.95 <= second.at - first.at < 3


async def test_w08_an_endpoint_that_never_answers_times_out(engine: Engine, receiver: Receiver) -> None:
    async def silence(_: Call, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    receiver.answers["/"] = silence
    await engine.endpoint(receiver.url())
    await engine.publish()
    async with _client(deadline=0.5) as client, engine.working(client=client) as worker:
        (delivery,) = await engine.finished()
        assert worker.inflight == 0
    (attempt,) = delivery.attempt_log
    assert attempt.error == "timeout"
    assert attempt.response is None
    assert 450 <= attempt.duration_ms <= 800


async def test_w09_headers_byte_by_byte_end_at_the_deadline(engine: Engine, receiver: Receiver) -> None:
    async def drip(_: Call, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    receiver.answers["/"] = drip
    await engine.endpoint(receiver.url())
    await engine.publish()
    async with _client(deadline=0.5) as client, engine.working(client=client):
        (delivery,) = await engine.finished()
    assert delivery.attempt_log[0].error == "timeout"
    assert delivery.attempt_log[0].duration_ms <= 800


async def test_w10_a_body_that_drips_ends_at_the_same_deadline_and_is_not_sent_again(
    engine: Engine, receiver: Receiver
) -> None:
    async def drip(_: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    receiver.answers["/"] = drip
    await engine.endpoint(receiver.url(), retry=[0.1, 0.1])
    await engine.endpoint(receiver.url("/other"))
    await engine.publish()
    async with _client(deadline=0.5) as client, engine.working(client=client):
        found = await engine.finished(2)
    assert [one.status for one in found] == ["succeeded", "succeeded"]
    assert len(receiver.calls) == 2
    dripped = next(one for one in found if one.attempt_log[0].duration_ms > 400)
    assert dripped.attempt_log[0].duration_ms <= 800
    assert dripped.attempt_log[0].response is not None
    assert dripped.attempt_log[0].response.truncated


async def test_w11_an_endless_body_is_read_to_the_cap_and_no_further(engine: Engine, receiver: Receiver) -> None:
    sent = 0

    async def endless(_: Call, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
            sent += 0x10000

    receiver.answers["/"] = endless
    await engine.endpoint(receiver.url())
    await engine.publish_many(20)
    before = psutil.Process().memory_info().rss
    async with engine.working():
        found = await engine.finished(20)
    grown = psutil.Process().memory_info().rss - before
    assert all(one.status == "succeeded" for one in found)
    response = found[0].attempt_log[0].response
    assert response is not None
    assert response.truncated
    assert len(response.body) == MAX_BODY
    # What stands in socket buffers was sent and never read.
    assert sent < 20 * 8 * 2**20
    assert grown < 40 * 2**20


async def test_w12_a_compressed_answer_is_capped_after_decompression(engine: Engine, receiver: Receiver) -> None:
    bomb = gzip.compress(b"x" * (64 * 2**20), compresslevel=9)[: MAX_BODY - 100]
    receiver.answers["/"] = status(200, "content-encoding: gzip", body=bomb)
    receiver.answers["/small"] = status(200, "content-encoding: gzip", body=gzip.compress(b"all is well"))
    await engine.endpoint(receiver.url(), events=["big"])
    await engine.endpoint(receiver.url("/small"), events=["small"])
    await engine.publish("big")
    await engine.publish("small")
    before = psutil.Process().memory_info().rss
    async with engine.working():
        big, small = await engine.finished(2)
    assert psutil.Process().memory_info().rss - before < 20 * 2**20
    assert big.attempt_log[0].response is not None
    assert small.attempt_log[0].response is not None
    assert big.attempt_log[0].response.body == "x" * MAX_BODY
    assert big.attempt_log[0].response.truncated
    assert (small.attempt_log[0].response.body, small.attempt_log[0].response.truncated) == ("all is well", False)


async def test_w13_bytes_that_are_no_text_are_stored_and_sent_once(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/"] = status(200, "x-odd: caf\xe9 \x80", body=b"a\x00b\xff\xfe")
    await engine.endpoint(receiver.url(), retry=[0.1])
    await engine.publish()
    async with engine.working():
        (delivery,) = await engine.finished()
    assert len(receiver.calls) == 1
    response = delivery.attempt_log[0].response
    assert response is not None
    assert response.body == "a\x00b��"
    assert any(name == "x-odd" for name, _ in response.headers)


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (b"", "unreachable"),
        (b"HTTP/9.9 garbage\r\n\r\n", "protocol"),
        (b"\x00\x01\x02\x03\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20000 + b"\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: nine\r\n\r\n", "protocol"),
    ],
)
async def test_w14_what_is_no_answer_is_a_failure_and_tried_again(
    engine: Engine, receiver: Receiver, behaviour: bytes, error: str
) -> None:
    async def bad(_: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(behaviour)
        await writer.drain()
        writer.close()

    receiver.answers["/"] = bad
    await engine.endpoint(receiver.url(), retry=[0.1])
    await engine.publish()
    async with engine.working():
        (delivery,) = await engine.finished()
    assert (delivery.status, delivery.attempts, delivery.last_error) == ("failed", 2, error)


async def test_w14_nobody_at_the_address_or_no_such_name_is_a_failure(engine: Engine) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    await engine.endpoint(f"http://127.0.0.1:{port}/")
    await engine.endpoint("http://no-such-name.invalid/")
    await engine.publish()
    async with engine.working():
        found = await engine.finished(2)
    assert [one.last_error for one in found] == ["unreachable", "unreachable"]


@pytest.mark.parametrize("kind", ["unknown", "expired", "host", "old"])
async def test_w15_bad_tls_fails_without_a_byte_of_payload(engine: Engine, tmp_path: Path, kind: str) -> None:
    good, other = Authority(tmp_path), Authority(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = {
            "unknown": other.server,
            "expired": lambda: good.server(expired=True),
            "host": lambda: good.server(host="example.com"),
            "old": lambda: good.server(highest=ssl.TLSVersion.TLSv1_1),
        }[kind]()
    received = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    await engine.endpoint(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    await engine.publish()
    async with _client(trust=good.trust()) as client, engine.working(client=client):
        (delivery,) = await engine.finished()
    server.close()
    await server.wait_closed()
    assert delivery.status == "failed"
    # A server too old to speak with us says so or resets the connection, by the OpenSSL settings of the machine.
    assert delivery.last_error in ({"tls"} if kind != "old" else {"tls", "unreachable"})
    assert not received


async def test_w15_good_tls_is_good(engine: Engine, receiver: Receiver, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=authority.server())
    await engine.endpoint(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    await engine.publish()
    async with _client(trust=authority.trust()) as client, engine.working(client=client):
        (delivery,) = await engine.finished()
    server.close()
    assert delivery.status == "succeeded"
    assert delivery.attempt_log[0].timings.connect is not None


async def test_w44_blocked_closed_and_unknown_look_alike_to_the_tenant(
    engine: Engine, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", receiver.url("/proxy"))
    await engine.endpoint("http://no-such-name.invalid/")
    blocked = await engine.endpoint(receiver.url())
    await engine.publish()
    async with _client(allow=()) as client, engine.working(client=client):
        unknown, refused = sorted(await engine.finished(2), key=lambda one: one.webhook_id == blocked.id)
    assert not receiver.connections
    first, second = unknown.attempt_log[0], refused.attempt_log[0]
    assert (first.status, first.error, first.message) == (second.status, second.error, second.message)
    assert (first.response, second.response) == (None, None)


@asynccontextmanager
async def _client(
    deadline: float = 30.0, trust: ssl.SSLContext | None = None, allow: object = LOCAL
) -> AsyncIterator[Client]:
    client = Client(allow=allow, deadline=deadline, trust=trust)  # type: ignore[arg-type] # networks, or none
    try:
        yield client
    finally:
        await client.close()
