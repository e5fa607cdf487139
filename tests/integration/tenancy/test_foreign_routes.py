"""A25: every operation of the OpenAPI document, asked by one tenant with another's ids, and without a key.

The operations come from the document, so a new one cannot be forgotten: an id parameter that nobody taught this test
about fails it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest_asyncio
from litestar import Litestar
from litestar.testing import AsyncTestClient
from penguin_hub.asgi import create_app
from penguin_hub.platform import ids
from penguin_hub.platform.db import Database
from penguin_hub.platform.embedded import Sample
from penguin_hub.runtime import sample
from penguin_hub.settings import Settings

# What is everybody's: the same for each tenant, so another's id is no secret.
SHARED = {"plugin_id"}
# What may be asked without a key: to get one.
OPEN = {("post", "/api/v1/platform/sessions")}


@dataclass
class World:
    client: AsyncTestClient[Litestar]
    own: Sample
    other: Sample
    database: Database
    document: dict[str, Any]
    made: dict[str, str] = field(default_factory=dict)
    """Id parameter -> an id of the other tenant."""

    async def ask(self, key: str, method: str, path: str, body: Any = None) -> Any:
        content = {} if body is None else {"json": body}
        return await self.client.request(method, path, headers={"authorization": f"Bearer {key}"}, **content)

    async def other_makes(self, path: str, body: Any) -> dict[str, Any]:
        answer = await self.ask(self.other.live_key, "POST", path, body)
        assert answer.status_code in {200, 201, 202}, answer.text
        made: dict[str, Any] = answer.json()
        return made


async def _contact(world: World) -> str:
    return str((await world.other_makes("/api/v1/contacts", {"email": "canary@other.example"}))["id"])


async def _email(world: World) -> str:
    message = {"from": "a@other.example", "to": "b@other.example", "subject": "canary", "text": "canary"}
    answer = await world.ask(world.other.test_key, "POST", "/api/v1/emails/send", message)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def _suppression(world: World) -> str:
    made = await world.other_makes("/api/v1/suppressions", {"email": "canary@other.example"})
    return str(made["id"])


async def _key(world: World) -> str:
    body = {"name": "canary", "scopes": ["manage_contacts"], "environment": "live"}
    return str((await world.other_makes("/api/v1/platform/api-keys", body))["id"])


async def _webhook(world: World) -> str:
    body = {"url": "http://127.0.0.1:8089/canary", "events": ["canary.*"]}
    return str((await world.other_makes("/api/v1/webhooks", body))["id"])


async def _event(world: World) -> str:
    return str((await world.other_makes("/api/v1/events", {"type": "canary.sang", "data": {}}))["event_id"])


async def _delivery(world: World) -> str:
    webhook = world.made["webhook_id"]
    answer = await world.ask(world.other.live_key, "GET", f"/api/v1/webhooks/{webhook}/deliveries")
    return str(answer.json()["data"][0]["id"])


async def _connection(world: World) -> str:
    """The sandbox's, which a test message brings into being."""
    await _email(world)
    answer = await world.ask(world.other.live_key, "GET", "/api/v1/connections")
    return str(answer.json()["data"][0]["id"])


async def _request(world: World) -> str:
    """A provider's request, stored as the hub stores one."""
    request = ids.new("inb")
    async with world.database.system() as connection:
        await connection.execute(
            """INSERT INTO inbound_requests
                   (tenant_id, id, connection_id, plugin, key, method, url, headers, body, received_at, due_at, state)
               VALUES ($1, $2, $3, 'canary', '', 'POST', '/canary', '[]', 'canary', now(), now(), 'parked')""",
            world.other.tenant,
            request,
            world.made["connection_id"],
        )
    return request


async def _recovery(world: World) -> str:
    webhook = world.made["webhook_id"]
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    return str((await world.other_makes(f"/api/v1/webhooks/{webhook}/recover", {"since": since}))["id"])


async def _event_type(world: World) -> str:
    body = {"name": "canary.own", "description": "canary", "schema": {"type": "object"}, "example": {}}
    return str((await world.other_makes("/api/v1/event-types", body))["name"])


# Bodies whose rules the schema does not say in full.
BODIES = {("put", "/api/v1/webhooks/{webhook_id}"): {"url": "http://127.0.0.1:8089/x", "events": ["*"]}}

MAKERS: dict[str, Callable[[World], Awaitable[str]]] = {
    "contact_id": _contact,
    "email_id": _email,
    "suppression_id": _suppression,
    "key_id": _key,
    "webhook_id": _webhook,
    "event_id": _event,
    "delivery_id": _delivery,
    "connection_id": _connection,
    "request_id": _request,
    "recovery_id": _recovery,
    "event_type": _event_type,
}


@pytest_asyncio.fixture
async def world(settings: Settings, database: Database) -> AsyncIterator[World]:
    own, other = await sample.create(settings), await sample.create(settings)
    app = create_app(settings)
    document = msgspec.json.decode(msgspec.json.encode(app.openapi_schema.to_schema()))
    async with AsyncTestClient(app) as client:
        yield World(client, own, other, database, document)


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(m, path, op) for path, item in document["paths"].items() for m, op in item.items() if m != "parameters"]


def id_parameters(path: str) -> list[str]:
    return [part.strip("{}") for part in path.split("/") if part.startswith("{")]


async def test_a25_every_operation_treats_anothers_id_as_one_that_is_not_there(world: World) -> None:
    wanted = {name for _, path, _ in operations(world.document) for name in id_parameters(path)} - SHARED
    assert wanted <= MAKERS.keys(), "teach this test to make one of these"
    for name, make in MAKERS.items():
        if name in wanted:
            world.made[name] = await make(world)
    before = await dump(world)
    for method, path, operation in operations(world.document):
        names = id_parameters(path)
        if not names or set(names) <= SHARED:
            continue
        foreign = path.format(**world.made)
        nobodys = path.format(**{name: ids.new(value[:3]) for name, value in world.made.items()})
        body = BODIES.get((method, path)) or example(world.document, operation)
        answers = [await world.ask(world.own.live_key, method.upper(), url, body) for url in (foreign, nobodys)]
        assert [answer.status_code for answer in answers] == [404, 404], (method, path, answers[0].text)
        theirs, none = ({**answer.json(), "request_id": None} for answer in answers)
        assert theirs == none, (method, path)
    assert await dump(world) == before, "something of the other tenant changed"


async def test_a06_every_operation_wants_a_key(world: World) -> None:
    for method, path, operation in operations(world.document):
        if (method, path) in OPEN or not path.startswith("/api/v1/"):
            continue
        url = path.format(**{name: ids.new("con") for name in id_parameters(path)})
        answer = await world.client.request(method.upper(), url, json=example(world.document, operation) or {})
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"].startswith("Bearer"), (method, path)
        assert answer.json()["code"], (method, path)


async def test_a06_every_operation_says_which_scope_it_needs(world: World) -> None:
    """With one scope: every operation is either its own, or a 403 that names another or asks for an admin."""
    made = await world.ask(
        world.own.live_key,
        "POST",
        "/api/v1/platform/api-keys",
        {"name": "narrow", "scopes": ["read_inbox"], "environment": "live"},
    )
    narrow = made.json()["key"]
    refused = 0
    for method, path, operation in operations(world.document):
        if (method, path) in OPEN or not path.startswith("/api/v1/"):
            continue
        url = path.format(**{name: ids.new("con") for name in id_parameters(path)})
        answer = await world.ask(narrow, method.upper(), url, example(world.document, operation))
        if answer.status_code == 403:
            refused += 1
            problem = answer.json()
            assert problem["code"] in {"missing_scope", "admin_only"}, (method, path)
            assert (problem["code"] == "admin_only") != ("needed_scope" in problem), (method, path)
        else:
            assert "/plugins" in path or path.endswith("/sessions"), (method, path, answer.status_code)
    assert refused > 20


async def dump(world: World) -> dict[str, list[Any]]:
    """Everything the other tenant has, but for what workers and the log of use change by themselves."""
    found = {}
    async with world.database.tenant(world.other.tenant) as connection:
        tables = await connection.fetch(
            "SELECT table_name FROM information_schema.role_table_grants WHERE privilege_type = 'SELECT' "
            "AND grantee = current_user"
        )
        for name in sorted({row["table_name"] for row in tables} - {"api_key_usage"}):
            rows = await connection.fetch(f'SELECT * FROM "{name}"')
            found[name] = sorted(str({k: v for k, v in row.items() if k != "last_used_at"}) for row in rows)
    return found


def example(document: dict[str, Any], operation: dict[str, Any]) -> Any:
    """A body that passes the schema, so that the refusal is about the id and not about the body."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return None if content is None else build(document, content["schema"])


def build(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return build(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]])
    for word in ("oneOf", "anyOf"):
        if word in schema:
            return build(document, next(option for option in schema[word] if option.get("type") != "null"))
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    kind = next(k for k in kind if k != "null") if isinstance(kind, list) else kind
    if kind == "object":
        wanted = schema.get("required", [])
        return {n: special(n) or build(document, s) for n, s in schema.get("properties", {}).items() if n in wanted}
    if kind == "array":
        return [build(document, schema.get("items", {}))] if schema.get("minItems") else []
    simple: dict[str | None, Any] = {"integer": 1, "number": 1, "boolean": True}
    return simple.get(kind, "example")


def special(name: str) -> Any:
    """Fields whose form the schema does not say in full."""
    known = {"email": "x@example.com", "from": "x@example.com", "to": "x@example.com", "since": "2026-11-20T00:00:00Z"}
    return known.get(name)
