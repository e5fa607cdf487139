"""`/connections` and `/plugins` as clients meet them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from penguin_hub.settings import Settings
from support import api, samples
from support.distributions import site


@pytest.fixture
async def client(tmp_path: Path, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    with site(tmp_path / "site") as folder:
        samples.install(folder)
        async with api.client(settings) as asked:
            yield asked


GOOD = {"plugin": "mailer", "config": {"api_key": "canary"}}


async def test_plugins_are_listed_with_their_schema_and_those_that_failed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/plugins")
    assert answer.status_code == 200
    plugins = {plugin["id"]: plugin for plugin in answer.json()["data"]}
    assert plugins["mailer"]["config_schema"]["properties"]["api_key"]["writeOnly"]
    assert plugins["mailer"]["manifest"]["category"] == "email"
    assert plugins["mailer"]["capabilities"] == {
        "sends_email": True,
        "batch": 1,
        "destination": False,
        "webhook": True,
    }
    assert plugins["broken"] == {
        "id": "broken",
        "state": "failed",
        "version": "1.2.3",
        "failure": "import",
        "detail": "Its module cannot be imported (ValueError).",
    }
    assert (await client.get("/plugins/mailer")).json() == plugins["mailer"]
    missing = await client.get("/plugins/nobody")
    assert (missing.status_code, missing.json()["code"]) == (404, "plugin_not_found")


async def test_the_life_of_a_connection(client: httpx.AsyncClient) -> None:
    made = await client.post("/connections", json=GOOD)
    assert made.status_code == 201
    assert made.headers["etag"] == '"v1"'
    connection = made.json()
    assert connection["secrets"] == {"api_key": True, "signing_key": False}
    assert "canary" not in made.text
    path = f"/connections/{connection['id']}"
    tested = await client.post(path + "/test")
    assert tested.status_code == 200
    assert tested.json()["ok"]
    changed = await client.patch(path, json={"name": "Other"}, headers={"if-match": '"v1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"v2"')
    stale = await client.patch(path, json={"name": "Third"}, headers={"if-match": '"v1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "connection_changed")
    listed = (await client.get("/connections", params={"plugin": "mailer"})).json()
    assert [item["id"] for item in listed["data"]] == [connection["id"]]
    checks = (await client.get(path + "/checks")).json()
    assert [check["ok"] for check in checks["data"]] == [True]
    assert (await client.delete(path)).status_code == 204
    gone = await client.get(path)
    assert (gone.status_code, gone.json()["code"]) == (404, "connection_not_found")


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ({"plugin": "nobody", "config": {}}, 404, "plugin_not_found", None),
        ({"plugin": "broken", "config": {}}, 409, "plugin_unavailable", None),
        ({"plugin": "future", "config": {}}, 409, "plugin_incompatible", None),
        ({"plugin": "toy", "config": {}}, 409, "built_in_connection", None),
        ({"plugin": "mailer", "config": {}}, 422, "validation_failed", "#/config/api_key"),
        ({"plugin": "mailer", "config": []}, 422, "validation_failed", "#/config"),
        ({"plugin": "mailer", "config": {"api_key": "x", "a/b~c": 1}}, 422, "validation_failed", "#/config/a~1b~0c"),
        ({"plugin": "mailer", "config": {"api_key": "wrong"}}, 422, "connection_check_failed", "#/config/api_key"),
        ({"plugin": "mailer", "config": {"api_key": "crash"}}, 503, "plugin_failed", None),
        ({**GOOD, "tenant_id": "ten_x"}, 422, "validation_failed", "#/tenant_id"),
        ({**GOOD, "name": "a\u0000b"}, 422, "validation_failed", "#/name"),
        ({**GOOD, "streams": []}, 422, "validation_failed", "#/streams"),
        ({**GOOD, "priority": -1}, 422, "validation_failed", "#/priority"),
        ({"plugin": 7}, 422, "validation_failed", "#/plugin"),
    ],
)
async def test_bad_input_is_a_problem_with_a_pointer(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, code: str, pointer: str | None
) -> None:
    answer = await client.post("/connections", json=body)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["code"]) == (status, code)
    if pointer is not None:
        assert [error["pointer"] for error in problem["errors"]] == [pointer]


async def test_p06_both_versions_are_named(client: httpx.AsyncClient) -> None:
    problem = (await client.post("/connections", json={"plugin": "future"})).json()
    assert problem["requires_hub"] == ">=3000"
    assert problem["hub"]


async def test_a16_a_repeated_request_makes_one_connection(client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": '"once"'}
    first = await client.post("/connections", json=GOOD, headers=headers)
    again = await client.post("/connections", json=GOOD, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["etag"] == first.headers["etag"]
    assert len((await client.get("/connections")).json()["data"]) == 1


async def test_bad_ids_and_parameters_are_problems(client: httpx.AsyncClient) -> None:
    for path, status in (
        ("/connections/x", 404),
        ("/connections/cnx_" + "z" * 26, 404),
        ("/connections/%00", 404),
        ("/connections/" + "x" * 70, 400),
        ("/connections?limit=0", 400),
        ("/connections?status=great", 400),
        ("/connections?cursor=abc", 400),
        ("/connections/cnx_" + "0" * 26 + "/checks", 404),
    ):
        answer = await client.get(path)
        assert (path, answer.status_code) == (path, status)


async def test_the_marketplace_shows_what_can_be_connected(client: httpx.AsyncClient) -> None:
    await client.post("/connections", json=GOOD)
    everything = (await client.get("/marketplace/plugins", params={"limit": 100})).json()
    ids = [listing["id"] for listing in everything["data"]]
    assert {"mailer", "chat"} <= set(ids)
    assert not {"toy", "broken", "future"} & set(ids)
    names = [listing["name"].casefold() for listing in everything["data"]]
    assert names == sorted(names)
    found = (await client.get("/marketplace/plugins", params={"q": "MAILER made test", "category": "email"})).json()
    assert [(listing["id"], listing["connections"]) for listing in found["data"]] == [("mailer", 1)]
    assert (await client.get("/marketplace/plugins", params={"q": "mailer", "category": "crm"})).json()["data"] == []
    seen: list[str] = []
    cursor = None
    while True:
        parameters = {"limit": 1, **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/marketplace/plugins", params=parameters)).json()
        seen += [listing["id"] for listing in page["data"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert seen == ids
    assert (await client.get("/marketplace/plugins", params={"limit": 1, "offset": 1})).json()["total"] == len(ids)
    detail = (await client.get("/marketplace/plugins/mailer")).json()
    assert detail["readme"] == "# Mailer\n\nSends mail."
    assert (detail["publisher"], detail["distribution"]) == ("A. Tester", "penguin-hub-mailer")
    assert detail["manifest"]["id"] == "mailer"
    for absent in ("toy", "broken", "nobody"):
        assert (await client.get(f"/marketplace/plugins/{absent}")).status_code == 404
