"""How endpoints know us: basic, OAuth 2.0, client certificates, and another system's signature. CASES W36, W38, W40."""

import asyncio
import base64
import hmac
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from penguin_hub.delivery import destinations
from penguin_hub.delivery.authentication import Auth, Basic, MutualTls
from penguin_hub.delivery.client import Client
from penguin_hub.delivery.legacy import LegacySignature
from penguin_hub.delivery.schemas import ChangedWebhook, Rotation
from penguin_hub.http.idempotency import NEVER_ASKED
from penguin_hub.settings import Settings
from support import api
from support.certificates import Authority
from support.delivery import LOCAL, Engine, Receiver, status

CANARY = "canary-7f3a"
GITHUB = {"header": "X-Hub-Signature-256", "template": "sha256={signature}", "secret": CANARY}


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with api.client(settings) as made:
        yield made


def token(value: str) -> bytes:
    return status(200, body=b'{"access_token": "%b", "token_type": "Bearer"}' % value.encode())


def oauth(receiver: Receiver, **more: str) -> dict[str, Any]:
    wanted = {"token_url": receiver.url("/token"), "client_id": "us", "client_secret": CANARY, **more}
    return {"type": "oauth2", **wanted}


def struct(wanted: dict[str, Any]) -> Auth:
    return msgspec.convert(wanted, Auth)


def legacy(wanted: dict[str, str]) -> LegacySignature:
    return msgspec.convert(wanted, LegacySignature)


async def nowhere(engine: Engine, secret: str = CANARY) -> None:
    """It stands in no table, in no spelling."""
    spellings = (secret, secret.encode().hex(), base64.b64encode(secret.encode()).decode())
    for table in ("webhooks", "attempts", "events", "deliveries", "delivery_queue"):
        for spelling in spellings:
            found = await engine.execute(
                f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%' || $1 || '%'", spelling
            )
            assert not found, (table, spelling)


async def test_basic_authentication_reaches_the_receiver_and_nobody_else(engine: Engine, receiver: Receiver) -> None:
    made = await engine.endpoint(receiver.url(), auth=Basic(username="us", password=CANARY))
    await engine.publish()
    async with engine.working():
        (delivery,) = await engine.finished()
    expected = "Basic " + base64.b64encode(f"us:{CANARY}".encode()).decode()
    assert receiver.calls[0].headers["authorization"] == expected
    assert ("authorization", "(secret)") in delivery.attempt_log[0].request.headers
    assert CANARY not in repr(delivery) + repr(made) + msgspec.json.encode(delivery).decode()
    assert expected.partition(" ")[2] not in repr(delivery)
    await nowhere(engine)
    await nowhere(engine, expected.partition(" ")[2])


async def test_an_oauth_token_is_fetched_once_and_renewed_when_refused(engine: Engine, receiver: Receiver) -> None:
    receiver.answers["/token"] = [token("one"), token("two")]
    receiver.answers["/"] = [status(200), status(200), status(401), status(200)]
    await engine.endpoint(receiver.url(), auth=struct(oauth(receiver, scope="hooks")), retry=[])
    async with engine.working():
        for count in (1, 2, 4):
            await engine.publish()
            await receiver.until(lambda wanted=count: len(receiver.at("/")) == wanted)
        deliveries = await engine.finished(3)
    assert [call.headers["authorization"] for call in receiver.at("/")] == [
        "Bearer one",
        "Bearer one",
        "Bearer one",
        "Bearer two",
    ]
    assert {one.status for one in deliveries} == {"succeeded"}
    assert len(receiver.at("/token")) == 2
    last = receiver.at("/")
    assert last[2].id == last[3].id
    assert all(("authorization", "(secret)") in one.attempt_log[0].request.headers for one in deliveries)
    await nowhere(engine)
    await nowhere(engine, "Bearer one")


async def test_without_a_token_the_delivery_waits_for_its_retry_and_says_why(
    engine: Engine, receiver: Receiver
) -> None:
    refused = status(401, body=b'{"error":"invalid_client","error_description":"internal"}')
    receiver.answers["/token"] = refused
    made = await engine.endpoint(receiver.url(), auth=struct(oauth(receiver)), retry=[0.1])
    await engine.publish()
    async with engine.working():
        (delivery,) = await engine.finished()
        assert receiver.at("/") == []
        assert [one.error for one in delivery.attempt_log] == ["token", "token"]
        assert delivery.attempt_log[0].message == "The authorization server gave no token (invalid_client)."
        receiver.answers["/token"] = token("one")
        # A new version of the endpoint begins anew, without waiting out the pause.
        changed = ChangedWebhook(description="mended")
        await engine.webhooks.change(engine.tenant, made.id, changed)
        await engine.deliveries.resend(engine.principal, delivery.id, NEVER_ASKED)
        await engine.until(lambda one: one.status == "succeeded")


async def test_w44_a_token_url_that_leads_inside_is_refused(client: httpx.AsyncClient, receiver: Receiver) -> None:
    for url in ("http://169.254.169.254/token", "http://[::1]/token", "file:///etc/passwd", "http://10.0.0.1/"):
        body = {"url": receiver.url(), "events": ["*"], "auth": {**oauth(receiver), "token_url": url}}
        answer = await client.post("/webhooks", json=body)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "url_not_allowed")
        assert problem["errors"][0]["pointer"] == "#/auth/token_url"


class TlsReceiver:
    """Wants a client certificate, and notes whose it was, by connection."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []
        self.url = ""
        self._connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        certificate: Any = writer.get_extra_info("peercert")
        names = dict(pair[0] for pair in certificate["subject"])
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                self.seen.append((number, names["commonName"]))
                writer.write(status(200))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def tls(tmp_path: Path) -> AsyncIterator[tuple[Authority, TlsReceiver]]:
    authority = Authority(tmp_path)
    context = authority.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem())
    receiver = TlsReceiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    receiver.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    yield authority, receiver
    server.close()


async def test_a_client_certificate_is_presented_by_its_endpoint_alone(
    engine: Engine, tls: tuple[Authority, TlsReceiver]
) -> None:
    authority, receiver = tls
    names = ("first", "second")
    for name in names:
        certificate, key = authority.client(name)
        auth = MutualTls(certificate=certificate, private_key=key)
        made = await engine.endpoint(receiver.url, events=[f"{name}.*"], auth=auth)
        assert key not in repr(made)
    await engine.endpoint(receiver.url, events=["none.*"])
    client = Client(allow=LOCAL, trust=authority.trust())
    async with engine.working(client=client):
        for _ in range(3):
            for name in (*names, "none"):
                await engine.publish(f"{name}.event")
        deliveries = await engine.finished(9)
    await client.close()
    outcomes = {(one.type, one.status) for one in deliveries}
    assert outcomes == {("first.event", "succeeded"), ("second.event", "succeeded"), ("none.event", "failed")}
    by_connection: dict[int, set[str]] = {}
    for number, name in receiver.seen:
        by_connection.setdefault(number, set()).add(name)
    assert all(len(found) == 1 for found in by_connection.values()), "no connection is shared"
    assert [name for _, name in receiver.seen].count("first") == 3
    await nowhere(engine, key.splitlines()[1])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"auth": {"type": "basic", "username": "a:b", "password": "c"}}, "#/auth/username"),
        ({"auth": {"type": "basic", "username": "a", "password": "c\r\nX-Evil: 1"}}, "#/auth/password"),
        ({"auth": {"type": "basic", "username": "a"}}, "#/auth/password"),
        ({"auth": {"type": "digest", "username": "a", "password": "b"}}, "#/auth/type"),
        ({"auth": {"type": "basic", "username": "a", "password": "b", "more": 1}}, "#/auth/more"),
        ({"auth": {"type": "basic", "username": "a", "password": "********"}}, "#/auth/password"),
        (
            {"auth": {"type": "basic", "username": "a", "password": "b"}, "headers": {"authorization": "Bearer x"}},
            "#/headers/Authorization",
        ),
        ({"auth": {"type": "mtls", "certificate": "x", "private_key": "y"}}, "#/auth"),
        ({"legacy_signature": {**GITHUB, "header": "X-A\r\nX-Evil"}}, "#/legacy_signature/header"),
        ({"legacy_signature": {**GITHUB, "header": "Webhook-Signature"}}, "#/legacy_signature/header"),
        ({"legacy_signature": {**GITHUB, "header": "Host"}}, "#/legacy_signature/header"),
        ({"legacy_signature": {**GITHUB, "header": "Content-Length"}}, "#/legacy_signature/header"),
        ({"legacy_signature": {**GITHUB, "header": "X-A"}, "headers": {"x-a": "1"}}, "#/legacy_signature/header"),
        ({"legacy_signature": {**GITHUB, "template": "{secret}"}}, "#/legacy_signature/template"),
        ({"legacy_signature": {**GITHUB, "signed": "{secret}"}}, "#/legacy_signature/signed"),
        ({"legacy_signature": {**GITHUB, "algorithm": "md5"}}, "#/legacy_signature/algorithm"),
        ({"legacy_signature": {**GITHUB, "secret": "********"}}, "#/legacy_signature/secret"),
    ],
)
async def test_w38_w40_what_cannot_be_is_refused_where_it_stands(
    client: httpx.AsyncClient, receiver: Receiver, body: dict[str, Any], pointer: str
) -> None:
    answer = await client.post("/webhooks", json={"url": receiver.url(), "events": ["*"], **body})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert CANARY not in answer.text


async def test_a_client_certificate_wants_https(client: httpx.AsyncClient, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).client()
    auth = {"type": "mtls", "certificate": certificate, "private_key": key}
    plain = await client.post("/webhooks", json={"url": "http://127.0.0.1:8089/", "events": ["*"], "auth": auth})
    assert (plain.status_code, plain.json()["errors"][0]["code"]) == (422, "https_required")
    made = await client.post("/webhooks", json={"url": "https://127.0.0.1:8089/", "events": ["*"], "auth": auth})
    assert made.status_code == 201, made.text
    assert made.json()["auth"] == {"type": "mtls", "certificate": certificate, "private_key": "********"}
    moved = await client.patch(f"/webhooks/{made.json()['id']}", json={"url": "http://127.0.0.1:8089/"})
    assert (moved.status_code, moved.json()["errors"][0]["pointer"]) == (422, "#/url")
    foreign = {**auth, "certificate": Authority(tmp_path).client()[0]}
    assert (await client.patch(f"/webhooks/{made.json()['id']}", json={"auth": foreign})).status_code == 422


async def test_a_mask_stands_for_the_secret_that_is_kept(
    client: httpx.AsyncClient, settings: Settings, engine: Engine, receiver: Receiver
) -> None:
    body = {"url": receiver.url(), "events": ["*"], "auth": oauth(receiver), "legacy_signature": GITHUB}
    made = (await client.post("/webhooks", json=body)).json()
    path = f"/webhooks/{made['id']}"
    shown = (await client.get(path)).json()
    assert shown["auth"]["client_secret"] == shown["legacy_signature"]["secret"] == "********"
    assert CANARY not in msgspec.json.encode([made, shown]).decode()
    kept = await client.put(path, json={**body, "auth": shown["auth"], "legacy_signature": shown["legacy_signature"]})
    assert kept.json()["auth"] == shown["auth"]
    tenant = await engine.execute("SELECT tenant_id FROM webhooks WHERE id = $1", made["id"])
    held = await destinations.read_secrets(engine.secrets, tenant, made["id"])
    assert getattr(held.auth, "client_secret", None) == CANARY
    assert held.legacy is not None
    assert held.legacy.secret == CANARY
    # Nobody gets a kept secret sent to a place of his own.
    stolen = {**shown["auth"], "token_url": receiver.url("/mine")}
    answer = await client.patch(path, json={"auth": stolen})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "masked")
    other = {"type": "basic", "username": "us", "password": "********"}
    assert (await client.patch(path, json={"auth": other})).status_code == 422
    rotated = await client.post(f"{path}/rotate-secret", json={})
    assert rotated.status_code == 200
    assert (await destinations.read_secrets(engine.secrets, tenant, made["id"])).auth == held.auth
    removed = await client.patch(path, json={"auth": None, "legacy_signature": None})
    assert (removed.json()["auth"], removed.json()["legacy_signature"]) == (None, None)
    left = await destinations.read_secrets(engine.secrets, tenant, made["id"])
    assert (left.auth, left.legacy, len(left.signing)) == (None, None, 2)


async def test_w36_a_second_signature_is_sent_beside_the_standard_ones(engine: Engine, receiver: Receiver) -> None:
    stripe = {"template": "t={timestamp},v1={signature}", "signed": "{timestamp}.{body}"}
    made = await engine.endpoint(receiver.url("/github"), legacy_signature=legacy(GITHUB))
    other = legacy({**GITHUB, **stripe, "header": "Stripe-Signature"})
    await engine.endpoint(receiver.url("/stripe"), legacy_signature=other)
    await engine.webhooks.rotate(engine.principal, made.id, Rotation(grace_seconds=0), NEVER_ASKED)
    await engine.publish(data={"text": "Grüße", "n": 1.0})
    async with engine.working():
        await engine.finished(2)
    (github,) = receiver.at("/github")
    expected = hmac.new(CANARY.encode(), github.body, "sha256").hexdigest()
    assert github.headers["x-hub-signature-256"] == f"sha256={expected}"
    assert github.headers["webhook-signature"].startswith("v1,")
    (call,) = receiver.at("/stripe")
    moment = call.headers["webhook-timestamp"]
    expected = hmac.new(CANARY.encode(), f"{moment}.".encode() + call.body, "sha256").hexdigest()
    assert call.headers["stripe-signature"] == f"t={moment},v1={expected}"
    await nowhere(engine)


async def test_two_changes_at_once_lose_none_of_the_secrets(engine: Engine, receiver: Receiver) -> None:
    made = await engine.endpoint(receiver.url())
    wanted = [
        engine.webhooks.change(engine.tenant, made.id, ChangedWebhook(headers={"X-Token": f"t{n}"})) for n in range(5)
    ]
    rotations = [engine.webhooks.rotate(engine.principal, made.id, Rotation(), NEVER_ASKED) for _ in range(5)]
    outcomes = await asyncio.gather(*wanted, *rotations, return_exceptions=True)
    rotated = [one for one in outcomes[5:] if not isinstance(one, BaseException)]
    held = await destinations.read_secrets(engine.secrets, engine.tenant, made.id)
    assert {one.secret for one in held.signing} == {made.secret, *(one.secret for one in rotated)}  # type: ignore[attr-defined]
    assert {type(one).__name__ for one in outcomes if isinstance(one, BaseException)} <= {"CasConflict"}
