"""The edge against hostile input, on a small app with the same parts as the real one."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from litestar import Litestar, get, post
from litestar.params import JSONBody
from litestar.testing import TestClient
from penguin_hub.http.bodies import Input, StrictBody, decode
from penguin_hub.http.paging import Limit, Pager
from penguin_hub.http.problems import HANDLERS, BadParameter
from penguin_hub.http.requests import RequestContext
from penguin_hub.platform.errors import HubError


class Inner(Input):
    name: str


class Thing(Input):
    count: int
    inner: list[Inner] = []


@post("/things")
async def make(data: JSONBody[Thing]) -> Thing:
    return data


@post("/small", request_max_body_size=64)
async def small(data: JSONBody[Thing]) -> Thing:
    return data


@post("/either")
async def either(data: JSONBody[Thing | list[Thing]]) -> int:
    return len(data) if isinstance(data, list) else 1


@get("/things")
async def many(limit: Limit = 20) -> int:
    return limit


@get("/crash")
async def crash() -> None:
    raise RuntimeError("the database password is hunter2")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    app = Litestar(
        [make, small, either, many, crash],
        dto=StrictBody,
        return_dto=None,
        exception_handlers=HANDLERS,
        request_max_body_size=1024 * 1024,
    )
    app.asgi_handler = RequestContext(app.asgi_handler)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def send(
    client: TestClient[Litestar], raw: bytes, content_type: str = "application/json", path: str = "/things"
) -> Any:
    return client.post(path, content=raw, headers={"content-type": content_type})


@pytest.mark.parametrize(
    ("raw", "status", "code", "pointer"),
    [
        pytest.param(b"[" * 200_000, 400, "malformed_body", None, id="nested-brackets"),
        pytest.param(b'{"count":NaN}', 400, "malformed_body", None, id="nan"),
        pytest.param(b'{"count":1,"count":2}', 400, "malformed_body", None, id="duplicate-key"),
        pytest.param(b'{"count":1', 400, "malformed_body", None, id="cut-off"),
        pytest.param(b'{"count":1}x', 400, "malformed_body", None, id="trailing"),
        pytest.param(b"\xff\xfe{}", 400, "malformed_body", None, id="not-utf8"),
        pytest.param(b"", 400, "malformed_body", None, id="empty"),
        pytest.param(b'{"count":1,"extra":2}', 422, "validation_failed", "#/extra", id="unknown-field"),
        pytest.param(b'{"count":"1"}', 422, "validation_failed", "#/count", id="number-as-string"),
        pytest.param(b"{}", 422, "validation_failed", "#/count", id="missing"),
        pytest.param(b'{"count":1,"inner":[{"name":3}]}', 422, "validation_failed", "#/inner/0/name", id="nested"),
        pytest.param(
            b'{"count":1,"inner":[{"name":"a\\u0000"}]}', 422, "validation_failed", "#/inner/0/name", id="nul"
        ),
        pytest.param(b'{"count":1,"inner":[{"name":"\\ud800"}]}', 400, "malformed_body", None, id="lone-surrogate"),
        pytest.param(b'{"count":1e400}', 422, "validation_failed", "#/count", id="infinite"),
    ],
)
def test_a13_a_hostile_body_is_a_problem(
    client: TestClient[Litestar], raw: bytes, status: int, code: str, pointer: str | None
) -> None:
    answer = send(client, raw)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["x-request-id"]
    if pointer:
        assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_a13_text_is_not_taken_for_json(client: TestClient[Litestar]) -> None:
    assert send(client, b'{"count":1}', "text/plain").status_code == 415


def test_a13_a_body_over_the_limit_is_refused(client: TestClient[Litestar]) -> None:
    assert send(client, b'{"count":1,"inner":' + b" " * 11_000_000 + b"[]}").status_code == 413
    assert send(client, b'{"count":1' + b" " * 64 + b"}", path="/small").json()["code"] == "body_too_large"


def test_a_union_of_one_and_many_is_decoded(client: TestClient[Litestar]) -> None:
    assert send(client, b'[{"count":1},{"count":2}]', path="/either").json() == 2
    assert send(client, b'{"count":1}', path="/either").json() == 1
    assert send(client, b'[{"count":1},{"count":"2"}]', path="/either").json()["errors"][0]["pointer"] == "#/1/count"


@pytest.mark.parametrize(("path", "method", "status"), [("/nowhere", "GET", 404), ("/things", "DELETE", 405)])
def test_a12_the_router_answers_in_problems(client: TestClient[Litestar], path: str, method: str, status: int) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    if status == 405:
        assert "GET" in answer.headers["allow"]


def test_a12_a_crash_tells_nothing(client: TestClient[Litestar]) -> None:
    answer = client.get("/crash")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.json()["code"] == "internal_error"


@pytest.mark.parametrize("limit", ["0", "101", "-1", "abc", ""])
def test_a15_a_bad_limit_is_named(client: TestClient[Litestar], limit: str) -> None:
    answer = client.get("/things", params={"limit": limit})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "?limit")


def test_a_request_id_of_the_client_is_kept_when_it_is_plain(client: TestClient[Litestar]) -> None:
    assert client.get("/things", headers={"x-request-id": "my-trace-0001"}).headers["x-request-id"] == "my-trace-0001"
    assert client.get("/things", headers={"x-request-id": "a b{}"}).headers["x-request-id"].startswith("req_")


def test_a14_a_cursor_is_good_for_its_own_list_only() -> None:
    pager = Pager(b"k" * 32)
    paging = pager.paging(tenant="ten_a", route="contacts", limit=1)
    cursor = paging.page([("x", "1"), ("y", "2")], lambda row: row).next_cursor
    assert cursor is not None
    assert pager.paging(tenant="ten_a", route="contacts", limit=5, cursor=cursor).after == ("x", "1")
    for changed in (
        {"tenant": "ten_b"},
        {"route": "emails"},
        {"order": "asc"},
        {"filters": {"tag": "a"}},
        {"cursor": cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")},
        {"cursor": "%%%"},
        {"cursor": "é"},
    ):
        with pytest.raises(BadParameter):
            pager.paging(**{"tenant": "ten_a", "route": "contacts", "limit": 5, "cursor": cursor, **changed})


@pytest.mark.parametrize("raw", [b"null", b"1", b'"x"', b"[]", b"{}", b"\x00"])
def test_decode_raises_only_our_errors(raw: bytes) -> None:
    with pytest.raises(HubError):
        decode(raw, Thing)


def test_a_body_that_is_right_is_taken_as_it_is() -> None:
    assert decode(b'{"count":1,"inner":[{"name":"\\u00e9"}]}', Thing) == Thing(count=1, inner=[Inner(name="é")])
    assert msgspec.json.encode(Thing(count=1)) == b'{"count":1,"inner":[]}'
