"""The catalogue of event types through the API, and what it does at a publish."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from penguin_hub.event_types.builtin import BUILTIN
from penguin_hub.event_types.service import MAX_TYPES
from penguin_hub.settings import Settings
from support import api

INVOICE: dict[str, Any] = {
    "name": "invoice.paid",
    "description": "An invoice was paid.",
    "schema": {
        "type": "object",
        "properties": {"number": {"type": "string"}, "total": {"type": "number", "minimum": 0}},
        "required": ["number", "total"],
    },
    "example": {"number": "2026-1", "total": 12.5},
}
GOOD = {"number": "2026-2", "total": 1}


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with api.client(settings) as made:
        yield made


async def _names(client: httpx.AsyncClient, **parameters: Any) -> list[str]:
    names: list[str] = []
    cursor: str | None = None
    while True:
        answer = await client.get("/event-types", params={**parameters, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        names += [one["name"] for one in page["data"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            return names


async def test_a_type_is_described_shown_replaced_and_deleted(client: httpx.AsyncClient) -> None:
    made = await client.post("/event-types", json=INVOICE)
    assert made.status_code == 201, made.text
    shown = (await client.get("/event-types/invoice.paid")).json()
    assert shown == made.json()
    assert {name: shown[name] for name in INVOICE} == INVOICE
    assert (shown["origin"], shown["version"]) == ("tenant", 1)
    assert list(shown["schema"]) == ["type", "properties", "required"], "kept in the order it was written in"
    again = await client.post("/event-types", json=INVOICE)
    assert (again.status_code, again.json()["code"]) == (409, "event_type_exists")
    body = {"schema": {"type": "object"}, "example": {}}
    replaced = (await client.put("/event-types/invoice.paid", json=body)).json()
    assert (replaced["version"], replaced["description"], replaced["example"]) == (2, "", {})
    assert (await client.delete("/event-types/invoice.paid")).status_code == 204
    for answer in (
        await client.get("/event-types/invoice.paid"),
        await client.delete("/event-types/invoice.paid"),
        await client.put("/event-types/invoice.paid", json=body),
        await client.get("/event-types/in%00voice"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "event_type_not_found")


async def test_the_list_holds_the_hub_s_own_and_the_tenant_s_by_name(client: httpx.AsyncClient) -> None:
    own = [f"{first}.{second}" for first in ("a", "email", "z") for second in ("one", "two")]
    for name in own:
        assert (await client.post("/event-types", json={**INVOICE, "name": name})).status_code == 201
    everything = sorted([*own, *BUILTIN])
    assert await _names(client, limit=3) == everything
    assert await _names(client, limit=3, order="desc") == everything[::-1]
    assert await _names(client, limit=2, origin="tenant") == own
    assert await _names(client, limit=100, origin="hub") == sorted(BUILTIN)
    page = (await client.get("/event-types", params={"limit": 3, "offset": 2})).json()
    assert ([one["name"] for one in page["data"]], page["total"]) == (everything[2:5], len(everything))


async def test_the_hub_s_own_types_are_shown_and_cannot_be_taken(client: httpx.AsyncClient) -> None:
    shown = (await client.get("/event-types/email.bounced")).json()
    assert (shown["origin"], shown["created_at"]) == ("hub", None)
    assert shown["schema"]["properties"]["bounce"]["enum"]
    body = {"schema": {}, "example": {}}
    for answer in (
        await client.post("/event-types", json={**body, "name": "email.bounced"}),
        await client.put("/event-types/email.bounced", json=body),
        await client.delete("/event-types/email.bounced"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "event_type_reserved")


async def test_published_data_must_fit_its_schema(client: httpx.AsyncClient) -> None:
    await client.post("/event-types", json=INVOICE)
    good = await client.post("/events", json={"type": "invoice.paid", "data": GOOD})
    assert good.status_code == 202
    bad = await client.post("/events", json={"type": "invoice.paid", "data": {"total": -1}})
    assert (bad.status_code, bad.json()["code"]) == (422, "event_data_invalid")
    assert {(one["pointer"], one["code"]) for one in bad.json()["errors"]} == {
        ("#/data/number", "required"),
        ("#/data/total", "minimum"),
    }
    assert "-1" not in bad.text, "a refusal does not quote the data"
    other = await client.post("/events", json={"type": "invoice.void", "data": {"total": -1}})
    assert other.status_code == 202, "a type that nobody described"


async def test_one_event_that_does_not_fit_refuses_its_batch(client: httpx.AsyncClient) -> None:
    await client.post("/event-types", json=INVOICE)
    batch = [{"type": "invoice.paid", "data": GOOD}, {"type": "x", "data": {}}, {"type": "invoice.paid", "data": {}}]
    refused = await client.post("/events", json=batch)
    assert refused.status_code == 422
    assert [one["pointer"] for one in refused.json()["errors"]] == ["#/2/data/number", "#/2/data/total"]
    assert (await client.get("/events")).json()["data"] == []
    assert (await client.post("/events", json=batch[:2])).status_code == 202


async def test_a_change_holds_for_the_next_publish(client: httpx.AsyncClient) -> None:
    async def publish() -> int:
        return (await client.post("/events", json={"type": "invoice.paid", "data": {"total": 1}})).status_code

    assert await publish() == 202
    await client.post("/event-types", json=INVOICE)
    assert await publish() == 422
    relaxed = {"schema": {"required": ["total"]}, "example": {"total": 1}}
    await client.put("/event-types/invoice.paid", json=relaxed)
    assert await publish() == 202
    await client.put("/event-types/invoice.paid", json={key: INVOICE[key] for key in ("schema", "example")})
    assert await publish() == 422
    await client.delete("/event-types/invoice.paid")
    assert await publish() == 202


async def test_a_schema_is_its_tenant_s_alone(settings: Settings) -> None:
    async with api.client(settings) as one, api.client(settings) as other:
        await one.post("/event-types", json=INVOICE)
        assert (await other.get("/event-types/invoice.paid")).status_code == 404
        assert (await other.post("/events", json={"type": "invoice.paid", "data": {}})).status_code == 202
        assert (await one.post("/events", json={"type": "invoice.paid", "data": {}})).status_code == 422


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "nothing"}, "#/schema/type"),
        ({"properties": {"a": {"$ref": "https://example.com/s"}}}, "#/schema/properties/a/$ref"),
        ({"$ref": "#"}, "#/schema/$ref"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "#/schema/$schema"),
        ({"pattern": "(?=a)b"}, "#/schema/pattern"),
    ],
)
async def test_a_schema_that_is_none_or_not_safe_is_refused(
    client: httpx.AsyncClient, schema: dict[str, Any], pointer: str
) -> None:
    answer = await client.post("/event-types", json={"name": "x.y", "schema": schema, "example": {}})
    assert (answer.status_code, answer.json()["code"]) == (422, "schema_not_allowed")
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await client.get("/event-types/x.y")).status_code == 404


async def test_an_example_must_fit_its_schema(client: httpx.AsyncClient) -> None:
    answer = await client.post("/event-types", json={**INVOICE, "example": {"number": 5, "total": 1}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/example/number")


async def test_the_number_of_types_is_bounded(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penguin_hub.event_types.service.MAX_TYPES", 2)
    assert MAX_TYPES > 2
    for number, status in enumerate((201, 201, 409)):
        answer = await client.post("/event-types", json={**INVOICE, "name": f"n.{number}"})
        assert answer.status_code == status
    assert answer.json()["code"] == "too_many_event_types"


async def test_data_that_costs_too_much_to_check_is_refused_quickly(client: httpx.AsyncClient) -> None:
    schema = {"properties": {"x": {"items": {"anyOf": [{"const": number} for number in range(400)]}}}}
    assert (await client.post("/event-types", json={"name": "big", "schema": schema, "example": {}})).status_code == 201
    started = time.monotonic()
    event = {"type": "big", "data": {"x": [399] * 60_000}}
    answer = await client.post("/events", json=event)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "too_costly")
    # Each fits alone; together they do not.
    batch = [{"type": "big", "data": {"x": [399] * 2400}}] * 20
    answer = await client.post("/events", json=batch)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "too_costly")
    assert time.monotonic() - started < 20


async def test_a_test_delivery_carries_the_type_s_example(client: httpx.AsyncClient) -> None:
    await client.post("/event-types", json=INVOICE)
    webhook = (await client.post("/webhooks", json={"url": "http://127.0.0.1:8089/x", "events": ["*"]})).json()["id"]
    for type, data in (
        ("invoice.paid", INVOICE["example"]),
        ("email.bounced", BUILTIN["email.bounced"].example),
        ("unheard.of", {"message": "This is a test delivery.", "type": "unheard.of"}),
    ):
        sent = await client.post(f"/webhooks/{webhook}/test", json={"type": type})
        assert sent.status_code == 202, sent.text
        shown = (await client.get(f"/deliveries/{sent.json()['id']}")).json()
        assert shown["body"]["data"] == data


async def test_an_idempotent_description_is_made_once(client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "k-1"}
    first = await client.post("/event-types", json=INVOICE, headers=headers)
    second = await client.post("/event-types", json=INVOICE, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.headers["idempotent-replayed"] == "true"
    assert second.json() == first.json()
