"""Idempotency-Key over HTTP and a real database: one effect, whatever is repeated, raced or killed."""

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar, Request
from litestar.di import NamedDependency, Provide
from penguin_hub.contacts import routes
from penguin_hub.contacts.service import ContactsService
from penguin_hub.events.service import EventsService, Routed
from penguin_hub.http import idempotency, problems
from penguin_hub.http.bodies import StrictBody
from penguin_hub.http.idempotency import Idempotency, Once, forget_expired
from penguin_hub.http.paging import Pager
from penguin_hub.http.principal import Principal
from penguin_hub.platform import clock
from penguin_hub.platform.db import Connection, Database
from penguin_hub.settings import Settings
from support.tenants import make_principal

KEY = b"k" * 32
BODY = {"email": "ada@example.com"}


class Nobody:
    async def route(
        self, connection: Connection, tenant: str, events: Sequence[Routed]
    ) -> Sequence[tuple[str, str, str, str]]:
        return ()


@pytest.fixture
async def principal(database: Database) -> Principal:
    return await make_principal(database)


class Api:
    """The contacts, as asked by `principal`."""

    def __init__(self, database: Database, principal: Principal) -> None:
        self.principal = principal
        contacts = ContactsService(database, EventsService(database, Nobody()))
        kept = Idempotency(KEY)

        async def once(
            request: Request[Any, Any, Any],
            principal: NamedDependency[Principal],
            idempotency_key: idempotency.KeyHeader = None,
        ) -> Once:
            return await kept.once(request, principal, idempotency_key)

        app = Litestar(
            routes.routes,
            dto=StrictBody,
            return_dto=None,
            dependencies={
                "principal": Provide(lambda: self.principal, sync_to_thread=False),
                "contacts": Provide(lambda: contacts, sync_to_thread=False),
                "pager": Provide(lambda: Pager(KEY), sync_to_thread=False),
                "once": Provide(once),
            },
            exception_handlers={**problems.HANDLERS, **idempotency.HANDLERS},
        )

        async def signed_in(scope: Any, receive: Any, send: Any) -> None:
            scope["user"] = self.principal
            await app(scope, receive, send)

        transport = httpx.ASGITransport(signed_in, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://hub")


@pytest.fixture
async def client(database: Database, principal: Principal) -> AsyncIterator[Api]:
    api = Api(database, principal)
    yield api
    await api.http.aclose()


async def post(client: Api, key: str | None, body: Any = BODY) -> Any:
    headers = {"Idempotency-Key": key} if key is not None else {}
    return await client.http.post("/contacts", json=body, headers=headers)


async def effects(database: Database, principal: Principal) -> int:
    async with database.tenant(principal.tenant) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM contacts"))


async def test_a16_a_repetition_gets_the_first_answer(client: Api, database: Database, principal: Principal) -> None:
    first = await post(client, "k1")
    again = await post(client, '"k1"')  # the quoted form of the same key
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert await effects(database, principal) == 1


async def test_a16_another_body_is_refused(client: Api) -> None:
    await post(client, "k1")
    other = await post(client, "k1", {"email": "bob@example.com"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a16_fifty_at_once_have_one_effect(client: Api, database: Database, principal: Principal) -> None:
    answers = await asyncio.gather(*(post(client, "k1") for _ in range(50)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.content for answer in made}) == 1
    assert len([answer for answer in made if "idempotent-replayed" not in answer.headers]) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "idempotency_key_in_use"
            assert int(answer.headers["retry-after"]) >= 1
    assert await effects(database, principal) == 1


async def test_a16_other_tenants_and_the_test_environment_have_keys_of_their_own(
    client: Api, database: Database, principal: Principal
) -> None:
    await post(client, "k1")
    client.principal = stranger = await make_principal(database)
    answer = await post(client, "k1")
    assert (answer.status_code, "idempotent-replayed" in answer.headers) == (201, False)
    assert await effects(database, stranger) == 1
    client.principal = msgspec.structs.replace(principal, environment="test")
    answer = await post(client, "k1")
    assert (answer.status_code, answer.json()["code"]) == (409, "contact_exists")


async def test_a_refusal_is_not_kept(client: Api) -> None:
    await post(client, None)
    assert (await post(client, "k1")).json()["code"] == "contact_exists"
    assert (await post(client, "k1", {"email": "bob@example.com"})).status_code == 201


@pytest.mark.parametrize("key", ["", '"', "x" * 300, "a\tb"])
async def test_a_bad_key_is_refused(client: Api, key: str) -> None:
    answer = await post(client, key)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_two_keys_are_refused(client: Api) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert (await client.http.post("/contacts", json=BODY, headers=headers)).status_code == 422


async def test_a_key_is_free_again_after_a_day(
    client: Api, database: Database, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await post(client, "k1")
    assert await forget_expired(database) == 0
    tomorrow = clock.now() + timedelta(hours=24, seconds=1)
    monkeypatch.setattr(clock, "now", lambda: tomorrow)
    assert (await post(client, "k1", {"email": "bob@example.com"})).status_code == 201
    assert (await post(client, "k1", {"email": "bob@example.com"})).headers["idempotent-replayed"] == "true"
    later = tomorrow + timedelta(hours=25)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert await forget_expired(database) == 1


async def test_a_dump_of_the_database_does_not_show_the_answers(
    client: Api, database: Database, principal: Principal
) -> None:
    await post(client, "a-key-of-mine")
    async with database.tenant(principal.tenant) as connection:
        (row,) = await connection.fetch("SELECT * FROM idempotency_keys")
    assert b"ada@example.com" not in row["answer"]
    assert b"a-key-of-mine" not in bytes(row["key_hash"]) + bytes(row["answer"])


CHILD = """
import asyncio, sys
from penguin_hub.http.idempotency import Once
from penguin_hub.platform.db import Database
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

url, tenant, workspace, when, key_hash, fingerprint = sys.argv[1:]

async def main():
    database = Database(url)
    await database.open()
    once = Once(tenant, bytes.fromhex(key_hash), bytes.fromhex(fingerprint), AESGCM(b"k" * 32))
    async with database.tenant(tenant) as connection:
        await once.begin(connection)
        await connection.execute(
            "INSERT INTO contacts (tenant_id, id, workspace_id, email, email_key) "
            "VALUES ($1, 'con_child', $2, 'ada@example.com', 'ada@example.com')", tenant, workspace)
        await once.keep(connection, {"id": "con_child"}, status=201)
        if when == "before":
            print("ready", flush=True)
            await asyncio.sleep(60)
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a17_a_kill_around_the_commit_leaves_one_effect(
    client: Api,
    database: Database,
    principal: Principal,
    settings: Settings,
    tmp_path: Path,
    when: str,
) -> None:
    """A process is killed with -9 right before or after its commit, before it could answer; the client asks again."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    request = b"POST /contacts?\0" + msgspec.json.encode(BODY)
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(script), settings.database_url, principal.tenant, principal.workspace, when,
        hashlib.sha256(b"live\0k1").hexdigest(), hashlib.sha256(request).hexdigest(),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONWARNINGS": "default"},
    )  # fmt: skip
    assert child.stdout is not None
    assert await asyncio.wait_for(child.stdout.readline(), 20) == b"ready\n"
    busy = await post(client, "k1")
    child.send_signal(signal.SIGKILL)
    await child.wait()
    for _ in range(100):  # PostgreSQL notices the death of its client and rolls back
        answer = await post(client, "k1")
        if answer.status_code != 409:
            break
        await asyncio.sleep(0.05)
    assert answer.status_code == 201
    if when == "before":
        assert busy.json()["code"] == "idempotency_key_in_use"
    else:
        assert (answer.json(), answer.headers["idempotent-replayed"]) == ({"id": "con_child"}, "true")
    assert await effects(database, principal) == 1
