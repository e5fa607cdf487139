"""`ctx.http`: the rules that need no network, against a scripted wire with its own clock."""

import asyncio
import gzip
import random
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate
from time import time
from typing import Any

import msgspec
import pytest
from penguin_hub_sdk import errors
from penguin_hub_sdk._breaker import Breaker, Breakers
from penguin_hub_sdk.addresses import networks
from penguin_hub_sdk.config import Config, Secret
from penguin_hub_sdk.exchange import Incoming, NotSent, Request, Response, read_body
from penguin_hub_sdk.http import ERRORS, Basic, Bearer, Http, HttpPolicy, Part
from penguin_hub_sdk.manifest import Limits, Manifest

URL = "https://api.acme.test/v1/send"


class Settings(Config, frozen=True):
    api_key: Secret = Secret("k-secret/1")
    host: str | None = None


Step = Exception | tuple[int, dict[str, str], bytes]


class Script:
    """A wire that answers what it was told, a step a request, and a clock that only `sleep` moves."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.seen: list[Request] = []
        self.now = 1000.0
        self.slept: list[float] = []

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Incoming]:
        self.seen.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        yield Incoming(step[0], step[1], _chunks(step[2]))

    async def aclose(self) -> None: ...

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


async def _chunks(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), 1000):
        yield body[start : start + 1000]


def http(script: Script, *, breakers: Breakers | None = None, config: Settings | None = None, **policy: Any) -> Http:
    manifest = Manifest(
        id="acme", name="Acme", version="1.0.0", category="email", summary="x",
        hosts=("api.acme.test", "*.eu.acme.test", "{host}"), limits=policy.pop("limits", Limits(1000, 1000)),
    )  # fmt: skip
    config = config or Settings()
    made = HttpPolicy.of(manifest, config, errors=policy.pop("errors", None))
    return Http(
        msgspec.structs.replace(made, **policy), config, wire=script, clock=script.clock, sleep=script.sleep,
        breakers=breakers, chance=random.Random(7),
    )  # fmt: skip


OK: Step = (200, {}, b'{"id": "m1"}')


async def test_the_request_carries_what_was_given() -> None:
    script = Script(OK)
    answer = await http(script).post(
        URL,
        params={"a": "1 2", "b": True},
        json={"x": [1]},
        headers={"X-Key": Secret("k")},
        auth=Basic("api", Secret("p")),
    )
    (request,) = script.seen
    assert request.method == "POST"
    assert request.url in (f"{URL}?a=1+2&b=true", f"{URL}?a=1%202&b=true")
    assert request.body == b'{"x":[1]}'
    headers = dict(request.headers)
    assert headers["x-key"] == "k"
    assert headers["authorization"] == "Basic YXBpOnA="
    assert headers["content-type"] == "application/json"
    assert headers["host"] == "api.acme.test"
    assert headers["content-length"] == "9"
    assert answer.json(dict[str, str]) == {"id": "m1"}


async def test_forms_and_files() -> None:
    script = Script(OK)
    api = http(script)
    await api.post(URL, form=[("to", "a@b.c"), ("to", "ü@b.c")], auth=Bearer(Secret("t")))
    await api.post(URL, form=[("to", "1"), ("to", "2")], files=[Part("file", 'a"b\r\n.txt', "text/plain", b"\x00hi")])
    plain, multipart = script.seen
    assert plain.body == b"to=a%40b.c&to=%C3%BC%40b.c"
    assert dict(plain.headers)["authorization"] == "Bearer t"
    assert multipart.body.count(b'name="to"') == 2
    assert b'filename="a%22b%0D%0A.txt"\r\nContent-Type: text/plain\r\n\r\n\x00hi\r\n' in multipart.body
    with pytest.raises(errors.Rejected):
        await api.post(URL, files=[Part("file", "a", "text/plain\r\nX: y", b"")])


@pytest.mark.parametrize(
    "url",
    ["https://other.test/", "https://acme.test/", "https://api.acme.test.evil.test/", "http://api.acme.test/",
     "https://api.acme.test:8443/", "https://eu.acme.test/", "https://169.254.169.254/", "https://user@api.acme.test/",
     "https://api.acme.test@evil.test/", "https://API.acme.test\\.evil.test/", "ftp://api.acme.test/", "/relative", "https://",
     "https://[::ffff:127.0.0.1]/", "https://2130706433/", "https://api.acme.test./"],
)  # fmt: skip
async def test_p20_only_declared_hosts(url: str, caplog: pytest.LogCaptureFixture) -> None:
    script = Script(OK)
    with pytest.raises(errors.ConfigInvalid):
        await http(script).get(url)
    assert script.seen == []
    assert "may not call" in caplog.text


async def test_p20_wildcards_fields_and_ports() -> None:
    script = Script(OK)
    api = http(script, config=Settings(host="https://mail.tenant.test:8443/api"))
    await api.get("https://a.eu.acme.test/")
    await api.get("https://mail.tenant.test:8443/x")
    with pytest.raises(errors.ConfigInvalid):
        await api.get("https://mail.tenant.test/")
    assert len(script.seen) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.1.2.3", "0x7f.1", "localhost.", "a b"])
async def test_p20_a_setting_cannot_open_the_inside(host: str) -> None:
    script = Script(OK)
    with pytest.raises(errors.ConfigInvalid):
        await http(script, config=Settings(host=host)).get(f"https://{'[::1]' if host == '::1' else host}/")
    assert script.seen == []


async def test_the_operator_may_open_a_private_address() -> None:
    script = Script(OK)
    await http(script, config=Settings(host="10.1.2.3"), allow=networks(["10.0.0.0/8"])).get("https://10.1.2.3/")
    assert len(script.seen) == 1


def test_a_field_inside_a_name_is_one_word() -> None:
    class Regional(Config, frozen=True):
        region: str

    manifest = Manifest(
        id="ses", name="x", version="1.0.0", category="email", summary="x", hosts=("email.{region}.aws.test",)
    )
    assert HttpPolicy.of(manifest, Regional(region="eu-west-1")).hosts[0].host == "email.eu-west-1.aws.test"
    with pytest.raises(errors.ConfigInvalid) as caught:
        HttpPolicy.of(manifest, Regional(region="evil.test/"))
    assert caught.value.field == "region"


async def test_an_override_leads_to_the_stand_in() -> None:
    script = Script(OK)
    await http(script, overrides={"api.acme.test": "http://127.0.0.1:9001/base/"}).get(f"{URL}?a=b")
    (request,) = script.seen
    assert request.url == "http://127.0.0.1:9001/base/v1/send?a=b"
    assert dict(request.headers)["host"] == "127.0.0.1:9001"
    assert dict(request.headers)["x-forwarded-host"] == "api.acme.test"


@pytest.mark.parametrize(
    "status", [*ERRORS, 300, 301, 302, 304, 307, 308, 400, 404, 409, 422, 451, 500, 501, 502, 503, 504]
)
async def test_every_status_has_its_error(status: int) -> None:
    expected = ERRORS.get(status) or (
        errors.BadAnswer if status < 400 else errors.Rejected if status < 500 else errors.ProviderFailed
    )
    script = Script((status, {"location": "http://169.254.169.254/"}, b"{}"))
    with pytest.raises(errors.PluginError) as caught:
        await http(script).post(URL)
    assert type(caught.value) is expected
    assert caught.value.status == status
    assert len(script.seen) == 1


async def test_the_plugin_table_comes_first() -> None:
    with pytest.raises(errors.QuotaExceeded):
        await http(Script((403, {}, b"")), errors={403: errors.QuotaExceeded}).get(URL)


def _explain(response: Response) -> tuple[str | None, str | None]:
    found = response.json(dict[str, str])
    return found["code"], found["message"]


async def test_the_provider_explains_and_nothing_secret_gets_through() -> None:
    body = b'{"code": "17", "message": "key k-secret/1 or k-secret%2F1 is\\n bad"}'
    with pytest.raises(errors.AuthExpired) as caught:
        await http(Script((401, {}, body))).get(URL, explain=_explain)
    assert caught.value.code == "17"
    assert caught.value.detail == "key *** or *** is  bad"
    with pytest.raises(errors.AuthExpired) as caught:
        await http(Script((401, {}, b"<html>"))).get(URL, explain=_explain)
    assert caught.value.detail == "api.acme.test answered 401."


async def test_nothing_shows_a_secret() -> None:
    script = Script(OK)
    api = http(script)
    answer = await api.get(f"{URL}?key=k-secret", auth=Bearer(Secret("k-secret/1")))
    shown = repr([api, answer, script.seen[0], Basic("u", Secret("k-secret/1")), Settings()])
    assert "k-secret" not in shown
    with pytest.raises(errors.ConfigInvalid) as caught:
        await api.get(URL, headers={"x-key": Secret("k-secret/1\r\nx: y")})
    assert "k-secret" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"null", b"[", b'{"id": 1}', b"\xff", b"[" * 100_000, b"<html>"])
async def test_an_answer_that_is_not_what_was_promised(body: bytes) -> None:
    answer = await http(Script((200, {}, body))).get(URL)
    with pytest.raises(errors.BadAnswer):
        answer.json(dict[str, str])


async def test_a_long_answer_and_a_bomb_are_cut_off() -> None:
    with pytest.raises(errors.BadAnswer):
        await http(Script((200, {}, b"x" * 5001)), max_body=5000).get(URL, retry=False)
    bomb = gzip.compress(b"\0" * 50_000_000)
    with pytest.raises(errors.BadAnswer):
        await http(Script((200, {"content-encoding": "gzip"}, bomb)), max_body=5000).get(URL, retry=False)
    with pytest.raises(errors.BadAnswer):
        await http(Script((200, {"content-encoding": "gzip"}, b"not gzip"))).get(URL, retry=False)
    with pytest.raises(errors.BadAnswer):
        await http(Script((200, {"content-encoding": "br"}, b"x"))).get(URL, retry=False)
    answer = await http(Script((200, {"content-encoding": "gzip"}, gzip.compress(b"x" * 5000))), max_body=5000).get(URL)
    assert answer.body == b"x" * 5000


async def test_a_bomb_takes_no_memory() -> None:
    bomb = gzip.compress(b"\0" * 200_000_000)

    async def whole() -> AsyncGenerator[bytes, None]:
        yield bomb

    tracemalloc.start()
    try:
        with pytest.raises(errors.BadAnswer):
            await read_body(Incoming(200, {"content-encoding": "gzip"}, whole()), 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


GONE = errors.NetworkFailed("broke off")
REFUSED = NotSent("refused")


@pytest.mark.parametrize(
    ("method", "retry", "steps", "calls"),
    [
        ("GET", None, [GONE, OK], 2),
        ("PUT", None, [(500, {}, b""), OK], 2),
        ("DELETE", None, [GONE, GONE, GONE], 3),
        ("GET", False, [GONE, OK], 1),
        ("POST", None, [GONE, OK], 1),
        ("POST", None, [(500, {}, b""), OK], 1),
        ("POST", None, [(503, {}, b""), OK], 1),
        ("POST", None, [REFUSED, OK], 2),
        ("POST", None, [(429, {"retry-after": "2"}, b""), OK], 2),
        ("POST", None, [(503, {"retry-after": "2"}, b""), OK], 2),
        ("POST", None, [(500, {"retry-after": "2"}, b""), OK], 1),
        ("POST", None, [(429, {"retry-after": "60"}, b""), OK], 1),
        ("POST", True, [GONE, OK], 2),
        ("POST", True, [(500, {}, b""), OK], 2),
        ("GET", None, [(429, {"retry-after": "60"}, b""), OK], 1),
        ("GET", None, [(404, {}, b""), OK], 1),
        ("GET", None, [(401, {}, b""), OK], 1),
    ],
)
async def test_what_is_repeated(method: str, retry: bool | None, steps: Sequence[Step], calls: int) -> None:
    script = Script(*steps)
    try:
        await http(script).request(method, URL, retry=retry)
    except errors.PluginError:
        assert calls == 1 or script.steps[0] is GONE
    assert len(script.seen) == calls
    assert all(pause >= 0 for pause in script.slept)


async def test_retry_after_is_waited_for_and_given_on() -> None:
    script = Script((429, {"retry-after": "3"}, b""), OK)
    await http(script).post(URL)
    assert sum(script.slept) >= 3
    with pytest.raises(errors.RateLimited) as caught:
        await http(Script((429, {"retry-after": formatdate(time() + 90, usegmt=True)}, b""))).post(URL)
    assert 80 < (caught.value.retry_after or 0) <= 90


async def test_no_retry_when_the_manifest_says_none() -> None:
    script = Script(GONE)
    with pytest.raises(errors.NetworkFailed):
        await http(script, limits=Limits(1000, 1000, retry="none")).get(URL)
    assert len(script.seen) == 1


async def test_the_pace_of_the_manifest_is_kept() -> None:
    script = Script(OK)
    api = http(script, limits=Limits(rate=10, burst=5))
    for _ in range(25):
        await api.get(URL)
    assert script.now == pytest.approx(1000 + 20 / 10)


async def test_a_long_queue_is_an_error_with_a_time() -> None:
    script = Script(OK)
    api = http(script, limits=Limits(rate=0.01, burst=1))
    await api.get(URL)
    with pytest.raises(errors.RateLimited) as caught:
        await api.get(URL)
    assert caught.value.retry_after == pytest.approx(100)
    assert len(script.seen) == 1


async def test_a_429_quiets_the_whole_connection() -> None:
    script = Script((429, {"retry-after": "20"}, b""), OK)
    api = http(script)
    with pytest.raises(errors.RateLimited):
        await api.post(URL)
    before = script.now
    await api.post(URL)
    assert script.now - before == pytest.approx(20)


async def test_the_breaker_opens_probes_and_closes() -> None:
    breakers = Breakers(lambda: Breaker(threshold=3, rest=30))
    script = Script((500, {}, b""))
    api, sibling = http(script, breakers=breakers), http(script, breakers=breakers)
    for _ in range(3):
        with pytest.raises(errors.ProviderFailed):
            await api.post(URL)
    with pytest.raises(errors.ProviderFailed) as caught:
        await sibling.get(URL)
    assert (caught.value.code, len(script.seen)) == ("circuit_open", 3)
    assert caught.value.retry_after == pytest.approx(30)
    script.now += 30
    with pytest.raises(errors.ProviderFailed):
        await api.post(URL)
    with pytest.raises(errors.ProviderFailed):
        await api.post(URL)
    assert len(script.seen) == 4, "one probe, and its failure opens it again"
    script.now += 30
    script.steps = [OK]
    await api.post(URL)
    await sibling.post(URL)
    assert breakers.states(script.now) == {("acme", "api.acme.test"): "closed"}


async def test_one_probe_at_a_time_and_a_cancelled_one_frees_the_way() -> None:
    breaker = Breaker(threshold=1, rest=10)
    assert breaker.enter(0) == 0
    breaker.leave(0, failed=True)
    assert breaker.enter(10) == 0
    assert breaker.enter(10) > 0
    breaker.leave(10, failed=None)
    assert breaker.enter(10) == 0


async def test_a_tenant_s_mistake_does_not_open_the_breaker() -> None:
    script = Script((401, {}, b""))
    api = http(script)
    for _ in range(20):
        with pytest.raises(errors.AuthExpired):
            await api.get(URL)
    assert len(script.seen) == 20


async def test_the_deadline_covers_everything() -> None:
    class Stuck(Script):
        @asynccontextmanager
        async def send(self, request: Request) -> AsyncIterator[Incoming]:
            await asyncio.Event().wait()
            yield Incoming(200, {}, _chunks(b""))

    with pytest.raises(errors.NetworkFailed, match=r"within 0\.05 seconds"):
        await http(Stuck(OK)).get(URL, timeout=0.05)


async def test_no_more_calls_at_once_than_the_manifest_says() -> None:
    class Counting(Script):
        running = peak = 0

        @asynccontextmanager
        async def send(self, request: Request) -> AsyncIterator[Incoming]:
            self.running += 1
            self.peak = max(self.peak, self.running)
            await asyncio.sleep(0)
            yield Incoming(200, {}, _chunks(b""))
            self.running -= 1

    script = Counting(OK)
    api = http(script, limits=Limits(1000, 1000, concurrency=3))
    await asyncio.gather(*(api.get(URL) for _ in range(20)))
    assert script.peak == 3


@pytest.mark.parametrize("make", [lambda: {"x": "a\r\nb"}, lambda: {"x": "ā"}, lambda: {"x": " a"}])
async def test_a_header_cannot_be_broken_out_of(make: Callable[[], dict[str, str]]) -> None:
    script = Script(OK)
    with pytest.raises(errors.ConfigInvalid):
        await http(script).get(URL, headers=make())
    assert script.seen == []
