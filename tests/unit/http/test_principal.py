"""Credentials and addresses out of raw headers, whatever the bytes."""

import asyncio
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penguin_hub.http.principal import (
    COOKIE,
    Admission,
    Authentication,
    CsrfRefused,
    Principal,
    bearer_or_cookie,
    client_address,
    session_cookie,
)
from penguin_hub.keys.errors import InvalidKey
from penguin_hub.limits.headers import ANONYMOUS
from support.keys import Answer, asgi

KEY = "pm_live_" + "A" * 32
PRINCIPAL = Principal(
    tenant="ten_x",
    workspace="wsp_x",
    actor="key_x",
    scopes=frozenset(),
    environment="live",
    admin=False,
    plan="pro",
)


class OneKey:
    """A gate that knows KEY."""

    def __init__(self, crash: bool = False) -> None:
        self.crash = crash
        self.counted: list[int] = []

    async def admit(self, credential: str, client: Any) -> Admission:
        if self.crash:
            raise RuntimeError("secret words")
        if credential != KEY:
            raise InvalidKey("This API key is not valid.")
        return Admission(PRINCIPAL, ANONYMOUS)

    def count(self, principal: Principal, status: int) -> None:
        self.counted.append(status)


async def _inner(scope: Any, receive: Any, send: Any) -> None:
    status = 200 if "user" in scope else 299
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def ask(headers: list[tuple[bytes, bytes]], method: str = "GET", path: str = "/api/v1/x", gate: Any = None) -> Answer:
    return asyncio.run(asgi(Authentication(_inner, gate or OneKey()), method, path, headers))


@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"cookie", b"x"]), st.binary(max_size=200)), max_size=4))
def test_a07_no_bytes_are_a_credential_but_the_right_ones(headers: list[tuple[bytes, bytes]]) -> None:
    answer = ask(headers)
    assert answer.status == 401
    assert answer.header("www-authenticate") == "Bearer"
    assert answer.header("content-type") == "application/problem+json"


@given(st.text(max_size=12), st.text(max_size=12))
def test_a07_nothing_may_stand_beside_the_key(before: str, after: str) -> None:
    raw = f"{before}Bearer {KEY}{after}".encode()
    assert ask([(b"authorization", raw)]).status == (200 if raw == f"Bearer {KEY}".encode() else 401)


def test_a_head_request_is_refused_without_a_body() -> None:
    answer = ask([], method="HEAD")
    assert (answer.status, answer.body) == (401, b"")
    assert int(answer.header("content-length") or 0) > 0


def test_only_the_api_asks_for_a_credential() -> None:
    for path in ("/healthz", "/api/docs", "/api/v1", "/api/v10/x", "/"):
        assert ask([], path=path).status == 299
    assert ask([], "POST", "/api/v1/platform/sessions").status == 299
    for method, path in (
        ("GET", "/api/v1/platform/sessions"),
        ("POST", "/api/v1/platform/sessions/"),
        ("OPTIONS", "/api/v1/x"),
    ):
        assert ask([], method, path).status == 401


def test_a_fault_of_ours_is_told_as_one_and_shows_nothing() -> None:
    answer = ask([(b"authorization", f"Bearer {KEY}".encode())], gate=OneKey(crash=True))
    assert (answer.status, answer.json["code"]) == (500, "internal_error")
    assert b"secret words" not in answer.body


def test_each_answer_is_counted_once_with_its_status() -> None:
    gate = OneKey()
    ask([(b"authorization", f"Bearer {KEY}".encode())], gate=gate)
    ask([], gate=gate)
    assert gate.counted == [200]


@given(st.binary(max_size=300))
def test_a_cookie_header_of_any_bytes_is_a_token_or_none(raw: bytes) -> None:
    found = session_cookie(raw)
    assert found is None or 0 < len(found) <= 64


def test_the_session_cookie_is_found_among_others() -> None:
    token = "pm_sess_" + "x" * 43
    scope = {"method": "GET", "headers": [(b"cookie", f"a=b; {COOKIE}={token}".encode()), (b"cookie", b"c=d")]}
    assert bearer_or_cookie(scope) == token
    scope["headers"].append((b"authorization", b"Bearer x"))  # type: ignore[attr-defined] # a list
    assert bearer_or_cookie(scope) == "x", "an Authorization header is the whole credential"
    scope["method"] = "POST"
    scope["headers"] = scope["headers"][:2]
    with pytest.raises(CsrfRefused):
        bearer_or_cookie(scope)


addresses = st.one_of(st.ip_addresses().map(str), st.text(max_size=20), st.just("unknown"), st.just("[::1]:80"))
TRUSTED = (ipaddress.ip_network("10.0.0.0/8"),)


@given(addresses, st.lists(addresses, max_size=5))
def test_a08_an_untrusted_peer_is_itself_whatever_it_says(peer: str, hops: list[str]) -> None:
    headers = [(b"x-forwarded-for", ", ".join(hops).encode("utf-8"))]
    said = client_address({"client": (peer, 1), "headers": headers}, TRUSTED)
    alone = client_address({"client": (peer, 1), "headers": []}, TRUSTED)
    if alone is None or alone not in TRUSTED[0]:
        assert said == alone


@given(st.lists(addresses, max_size=5), st.ip_addresses())
def test_a08_what_stands_before_the_last_untrusted_hop_counts_for_nothing(hops: list[str], last: Any) -> None:
    real = last.ipv4_mapped or last if last.version == 6 else last
    if real in TRUSTED[0]:
        return
    chain = ", ".join([*hops, str(last), "10.0.0.7"]).encode("utf-8")
    found = client_address({"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", chain)]}, TRUSTED)
    assert found == real


def test_a08_a_peer_without_an_address_has_none() -> None:
    assert client_address({"client": None, "headers": []}, TRUSTED) is None
    assert client_address({"client": ("fe80::1%eth0", 1), "headers": []}, TRUSTED) is None
