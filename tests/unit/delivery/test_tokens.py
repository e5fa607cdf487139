"""Tokens by client credentials: cached, renewed in time, asked for once whoever waits."""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import parse_qs

import msgspec
import pytest
from penguin_hub.delivery import tokens as module
from penguin_hub.delivery.authentication import OAuth2
from penguin_hub.delivery.client import Answer, Client, Target, Timings
from penguin_hub.delivery.tokens import FETCH_SECONDS, PAUSE_SECONDS, NoToken, Tokens
from penguin_hub_sdk.addresses import AddressRefused
from yarl import URL

TARGET = Target(URL("https://hooks.example.com/"), "hooks.example.com", False)
AUTH = OAuth2(token_url="https://id.example.com/token", client_id="us", client_secret="canary")


class Server:
    """The authorization server and the endpoint, in the client's place."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], dict[str, list[str]]]] = []
        self.posted: list[str] = []
        self.answers: list[Answer] = []
        self.statuses: list[int] = []
        self.refused: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.deadline = 30.0
        self.deadlines: list[float | None] = []

    def target(self, url: str) -> Target:
        if "127.0.0.1" in url:
            raise AddressRefused("not public")
        return Target(URL(url), "id.example.com", False)

    async def post(
        self, target: Target, headers: Mapping[str, str], body: bytes, *, deadline: float | None = None
    ) -> Answer:
        self.deadlines.append(deadline)
        if target.host == "hooks.example.com":
            self.posted.append(headers["authorization"])
            status = self.statuses.pop(0) if self.statuses else 200
            await asyncio.sleep(0)
            status = 401 if headers["authorization"] in self.refused else status
            return Answer(status, None if status == 200 else "status", Timings(total=1.0))
        self.asked.append((dict(headers), parse_qs(body.decode())))
        await self.gate.wait()
        return self.answers.pop(0) if self.answers else granted(f"token-{len(self.asked)}")


def granted(token: str, **more: Any) -> Answer:
    answer = {"access_token": token, "token_type": "Bearer", "expires_in": 100, **more}
    return Answer(200, None, Timings(total=1.0), (), msgspec.json.encode(answer))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(server: Server, clock: Clock, auth: OAuth2 = AUTH) -> Tokens:
    return Tokens(cast("Client", server), auth, now=clock)


async def test_a_token_is_asked_for_once_and_kept_until_shortly_before_its_end(server: Server, clock: Clock) -> None:
    tokens = made(server, clock)
    assert [await tokens.get() for _ in range(3)] == ["token-1"] * 3
    clock.now += 79
    assert await tokens.get() == "token-1"
    clock.now += 2
    assert await tokens.get() == "token-2"
    assert len(server.asked) == 2


async def test_a_hundred_that_wait_ask_once(server: Server, clock: Clock) -> None:
    tokens = made(server, clock)
    server.gate.clear()
    waiting = [asyncio.create_task(tokens.get()) for _ in range(100)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    server.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"token-1"}
    assert len(server.asked) == 1


async def test_a_token_that_is_still_good_outlives_a_failed_renewal(server: Server, clock: Clock) -> None:
    tokens = made(server, clock)
    await tokens.get()
    clock.now += 85
    server.answers = [Answer(500, "status", Timings(total=1.0))]
    assert await tokens.get() == "token-1"
    assert await tokens.get() == "token-1"
    assert len(server.asked) == 2, "and nobody is asked again at once"
    clock.now += PAUSE_SECONDS
    assert await tokens.get() == "token-3"


async def test_after_a_refusal_the_server_is_left_alone_for_a_while(server: Server, clock: Clock) -> None:
    tokens = made(server, clock)
    body = b'{"error": "invalid_client", "error_description": "inside"}'
    server.answers = [Answer(401, "status", Timings(total=1.0), (), body)]
    for _ in range(5):
        with pytest.raises(NoToken, match=r"^The authorization server gave no token \(invalid_client\)\.$"):
            await tokens.get()
    assert len(server.asked) == 1
    clock.now += PAUSE_SECONDS
    assert await tokens.get() == "token-2"


@pytest.mark.parametrize(
    "answer",
    [
        granted("a b"),
        granted("a\r\nX-Evil: 1"),
        granted(""),
        granted("x" * 8193),
        granted("t", token_type="DPoP"),
        granted("t", expires_in=0),
        granted("t", expires_in=-5),
        granted("t", expires_in="soon"),
        granted("t", expires_in="nan"),
        granted("t", access_token=5),
        Answer(200, None, Timings(total=1.0), (), b"<html>"),
        Answer(200, None, Timings(total=1.0), (), b"\xff"),
        Answer(200, None, Timings(total=1.0), (), granted("t").body, truncated=True),
        Answer(302, "redirect", Timings(total=1.0), (), granted("t").body),
        Answer(None, "timeout", Timings(total=1.0)),
        Answer(400, "status", Timings(total=1.0), (), b'{"error": "see 10.0.0.1"}'),
    ],
)
async def test_what_is_no_token_is_none(server: Server, clock: Clock, answer: Answer) -> None:
    server.answers = [answer]
    with pytest.raises(NoToken, match=r"^The authorization server gave no token\.$"):
        await made(server, clock).get()


@pytest.mark.parametrize("seconds", [None, "3600", 3600, 1e12])
async def test_how_long_may_be_a_number_a_text_or_unsaid(server: Server, clock: Clock, seconds: Any) -> None:
    tokens = made(server, clock)
    server.answers = [granted("t", expires_in=seconds)]
    assert await tokens.get() == "t"
    clock.now += 24 * 3600
    assert await tokens.get() == "token-2", "and a day is the longest"


async def test_the_client_is_named_in_the_header_or_in_the_form(server: Server, clock: Clock) -> None:
    odd = OAuth2(token_url="https://id.example.com/token", client_id="a:b", client_secret="p%ä", scope="x y")
    await made(server, clock, odd).get()
    headers, form = server.asked[0]
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"a%3Ab:p%25%C3%A4"
    assert form == {"grant_type": ["client_credentials"], "scope": ["x y"]}
    body = msgspec.structs.replace(odd, client_auth="body", audience="hooks", scope=None)
    await made(server, clock, body).get()
    headers, form = server.asked[1]
    assert "authorization" not in headers
    assert (form["client_id"], form["client_secret"], form["audience"]) == (["a:b"], ["p%ä"], ["hooks"])


async def test_w44_a_token_url_that_leads_inside_is_never_asked(server: Server, clock: Clock) -> None:
    tokens = made(server, clock, msgspec.structs.replace(AUTH, token_url="http://127.0.0.1/token"))
    with pytest.raises(NoToken):
        await tokens.get()
    assert server.asked == []


async def test_a_401_brings_one_new_token_and_one_more_try(server: Server, clock: Clock) -> None:
    tokens = made(server, clock)
    server.statuses = [401]
    answer = await module.post(cast("Client", server), TARGET, tokens, {"x": "y"}, b"{}")
    assert answer.status == 200
    assert server.posted == ["Bearer token-1", "Bearer token-2"]
    server.statuses = [401, 401]
    answer = await module.post(cast("Client", server), TARGET, tokens, {}, b"{}")
    assert answer.status == 401
    assert server.posted[2:] == ["Bearer token-2"], "not again within seconds: the endpoint refuses whatever we bring"
    clock.now += PAUSE_SECONDS
    server.statuses = [401, 401]
    answer = await module.post(cast("Client", server), TARGET, tokens, {}, b"{}")
    assert (answer.status, server.posted[3:]) == (401, ["Bearer token-2", "Bearer token-3"])


async def test_many_401s_at_once_bring_one_new_token(server: Server, clock: Clock) -> None:
    tokens = made(server, clock)
    await tokens.get()
    server.refused = {"Bearer token-1"}
    answers = await asyncio.gather(*(module.post(cast("Client", server), TARGET, tokens, {}, b"{}") for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len(server.asked) == 2


async def test_without_a_token_nothing_is_posted(server: Server, clock: Clock) -> None:
    server.answers = [Answer(None, "unreachable", Timings(total=1.0))]
    answer = await module.post(cast("Client", server), TARGET, made(server, clock), {}, b"{}")
    assert (answer.status, answer.failure, answer.note) == (None, "token", "The authorization server gave no token.")
    assert server.posted == []


async def test_all_of_it_stands_under_one_deadline(server: Server, clock: Clock) -> None:
    server.deadline = 0.05
    server.gate.clear()
    answer = await module.post(cast("Client", server), TARGET, made(server, clock), {}, b"{}")
    assert (answer.status, answer.failure) == (None, "token")
    server.gate.set()
    server.deadline = 30.0
    server.statuses = [401]
    server.deadlines.clear()
    await module.post(cast("Client", server), TARGET, made(server, clock), {}, b"{}")
    token, first, renewal, second = server.deadlines
    assert token == renewal == FETCH_SECONDS
    assert first is not None
    assert second is not None
    assert second < first < 30.0


def test_a_secret_stands_in_no_repr(server: Server, clock: Clock) -> None:
    assert "canary" not in repr(made(server, clock)) + repr(AUTH) + str(AUTH)
