"""Who is let in: the form of a credential, the address, expiry, suspension, sessions."""

from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from penguin_hub.http.principal import COOKIE
from penguin_hub.keys import format as key_format
from penguin_hub.platform import clock
from support.keys import PASSWORD, Node, asgi


def assert_refused(answer: Any, status: int, code: str) -> None:
    assert (answer.status, answer.json["code"]) == (status, code), answer.body
    assert answer.header("content-type") == "application/problem+json"
    assert answer.json["status"] == status
    assert {"type", "title", "status", "detail", "code"} <= answer.json.keys()
    if status == 401:
        assert answer.header("www-authenticate") == "Bearer"


class Later:
    """A clock that can be put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta()
        real = clock.now
        monkeypatch.setattr(clock, "now", lambda: real() + self.ahead)

    def forward(self, **span: float) -> None:
        self.ahead += timedelta(**span)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    return Later(monkeypatch)


async def test_a07_a_credential_counts_in_one_form_only(node: Node) -> None:
    key = (await node.key(await node.tenant())).key
    raw = key.encode()
    good = [(b"authorization", b"Bearer " + raw)]
    assert (await asgi(node.app, "GET", "/api/v1/ping", good)).status == 200
    import base64

    bad: list[list[tuple[bytes, bytes]]] = [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"bearer " + raw)],
        [(b"authorization", b"BEARER " + raw)],
        [(b"authorization", b"Bearer  " + raw)],
        [(b"authorization", b"Bearer " + raw + b" ")],
        [(b"authorization", b"Bearer " + raw + b"\n")],
        [(b"authorization", b"Bearer " + raw + b", Bearer " + raw)],
        [(b"authorization", raw)],
        [(b"authorization", b"Token " + raw)],
        [(b"authorization", b"Basic " + base64.b64encode(raw + b":"))],
        [(b"authorization", b"Basic " + base64.b64encode(b":" + raw))],
        [(b"authorization", b"Bearer " + b"x" * 10_000)],
        [(b"authorization", b"Bearer pm_live_" + b"x" * 10_000)],
        [(b"authorization", b"Bearer \xff\xfe" + raw)],
        [(b"authorization", b"Bearer " + raw.lower())],
        [(b"authorization", b"Bearer " + raw.replace(b"live", b"test"))],
        [*good, *good],
        [*good, (b"authorization", b"Bearer " + b"x" * 40)],
        [(b"x-api-key", raw)],
        [(b"cookie", COOKIE.encode() + b"=" + raw), (b"authorization", b"")],
    ]
    for headers in bad:
        answer = await asgi(node.app, "GET", "/api/v1/ping", headers)
        assert answer.status == 401, headers
        assert answer.header("www-authenticate") == "Bearer"
        assert raw not in answer.body
    for query in (f"api_key={key}", f"key={key}", f"access_token={key}"):
        assert (await asgi(node.app, "GET", f"/api/v1/ping?{query}", [])).status == 401


async def test_a07_what_does_not_exist_asks_for_a_credential_first(node: Node) -> None:
    key = (await node.key(await node.tenant())).key
    assert_refused(await node.ask("GET", "/nothing"), 401, "unauthenticated")
    assert (await node.ask("GET", "/nothing", key=key)).status == 404


async def test_an_unknown_key_is_told_nothing(node: Node) -> None:
    made = await node.key(await node.tenant())
    await node.ask("GET", "/ping", key=made.key)
    unknown = await node.ask("GET", "/ping", key=key_format.generate("live"))
    malformed = await node.ask("GET", "/ping", key="pm_live_short")
    await node.ask("DELETE", f"/platform/api-keys/{made.id}", key=await node.token())
    revoked = await node.ask("GET", "/ping", key=made.key)
    for answer in (unknown, malformed, revoked):
        assert_refused(answer, 401, "invalid_api_key")
    assert unknown.json == malformed.json == revoked.json


async def test_a08_only_a_trusted_proxy_is_believed_about_the_address(make_node: Any) -> None:
    node: Node = await make_node(trusted=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
    made = await node.tenant()
    key = (await node.key(made, allowed_ips=["203.0.113.0/24", "2001:db8::/32", "::ffff:198.51.100.0/120"])).key

    async def status(client: str, *forwarded: str) -> int:
        headers = [("X-Forwarded-For", value) for value in forwarded]
        answer = await node.ask("GET", "/ping", key=key, client=client, headers=headers)
        if answer.status != 200:
            assert_refused(answer, 403, "address_not_allowed")
        return answer.status

    assert await status("203.0.113.5") == 200
    assert await status("::ffff:203.0.113.5") == 200
    assert await status("198.51.100.200") == 200, "a range written as IPv4 inside IPv6 is an IPv4 range"
    assert await status("2001:db8::1") == 200
    assert await status("192.0.2.1") == 403
    assert await status("192.0.2.1", "203.0.113.5") == 403, "an untrusted peer may say what it likes"
    assert await status("::ffff:192.0.2.1", "203.0.113.5") == 403
    assert await status("10.0.0.1", "203.0.113.5") == 200
    assert await status("::ffff:10.0.0.1", "203.0.113.5") == 200
    assert await status("fd00::1", "2001:db8::7") == 200
    assert await status("10.0.0.1", "203.0.113.5, 192.0.2.1") == 403, "only the last untrusted hop counts"
    assert await status("10.0.0.1", "192.0.2.1, 203.0.113.5, 10.0.0.9") == 200
    assert await status("10.0.0.1", "192.0.2.1", "203.0.113.5") == 200, "two headers are one list"
    assert await status("10.0.0.1", "203.0.113.5", "192.0.2.1") == 403
    assert await status("10.0.0.1") == 403
    assert await status("10.0.0.1", "unknown") == 403
    assert await status("10.0.0.1", "203.0.113.5, garbage") == 403
    assert await status("not-an-address") == 403


async def test_a08_without_trusted_proxies_nobody_is_believed(node: Node) -> None:
    key = (await node.key(await node.tenant(), allowed_ips=["203.0.113.0/24"])).key
    answer = await node.ask("GET", "/ping", key=key, headers=[("X-Forwarded-For", "203.0.113.5")])
    assert_refused(answer, 403, "address_not_allowed")


async def test_a10_expired_suspended_and_revoked_keys_have_one_shape_of_answer(node: Node, later: Later) -> None:
    made = await node.tenant()
    soon = clock.now() + timedelta(seconds=60)
    expiring = (await node.key(made, expires_at=soon)).key
    lasting = (await node.key(made)).key
    assert (await node.ask("GET", "/ping", key=expiring)).status == 200
    later.forward(seconds=61)
    assert_refused(await node.ask("GET", "/ping", key=expiring), 401, "invalid_api_key")
    await node.tenants.suspend(made.tenant.id)
    refused = await node.ask("GET", "/ping", key=lasting)
    assert_refused(refused, 403, "tenant_suspended")
    assert refused.header("ratelimit") is not None
    await node.tenants.resume(made.tenant.id)
    assert (await node.ask("GET", "/ping", key=lasting)).status == 200


async def test_a10_a_test_key_is_known_as_one(node: Node) -> None:
    key = await node.key(await node.tenant(), environment="test")
    admission = await node.gate.admit(key.key, None)
    assert admission.principal.environment == "test"


async def test_a05_rotation_with_an_overlap(node: Node, later: Later) -> None:
    made = await node.tenant()
    token = await node.token()
    old = await node.key(made)
    answer = await node.ask("POST", f"/platform/api-keys/{old.id}/rotate", key=token, json={"overlap_seconds": 60})
    new = answer.json["key"]
    assert (await node.ask("GET", "/ping", key=old.key)).status == 200
    assert (await node.ask("GET", "/ping", key=new)).status == 200
    later.forward(seconds=61)
    assert (await node.ask("GET", "/ping", key=old.key)).status == 401
    assert (await node.ask("GET", "/ping", key=new)).status == 200


async def test_a05_rotation_without_an_overlap(node: Node) -> None:
    made = await node.tenant()
    token = await node.token()
    old = await node.key(made)
    assert (await node.ask("GET", "/ping", key=old.key)).status == 200
    answer = await node.ask("POST", f"/platform/api-keys/{old.id}/rotate", key=token, json={"overlap_seconds": 0})
    assert (await node.ask("GET", "/ping", key=old.key)).status == 401
    assert (await node.ask("GET", "/ping", key=answer.json["key"])).status == 200
    for seconds in (-1, 604_801, "60", 1.5):
        body = {"overlap_seconds": seconds}
        path = f"/platform/api-keys/{answer.json['id']}/rotate"
        assert (await node.ask("POST", path, key=token, json=body)).status == 422


async def test_a_rotated_key_lives_as_long_as_its_predecessor_did(node: Node, later: Later) -> None:
    made = await node.tenant()
    token = await node.token()
    old = await node.key(made, expires_at=clock.now() + timedelta(days=30))
    later.forward(days=29)
    token = await node.token()
    answer = await node.ask("POST", f"/platform/api-keys/{old.id}/rotate", key=token, json={"overlap_seconds": 604_800})
    left = datetime.fromisoformat(answer.json["expires_at"]) - clock.now()
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
    kept = (await node.ask("GET", f"/platform/api-keys/{old.id}", key=token)).json["expires_at"]
    assert kept == old.expires_at.isoformat().replace("+00:00", "Z") if old.expires_at else False


async def test_a_session_acts_as_an_admin_until_it_is_ended(node: Node, later: Later) -> None:
    await node.tenant()
    answer = await node.ask("POST", "/platform/sessions", json={"email": "Owner@EXAMPLE.com", "password": PASSWORD})
    assert answer.status == 201
    token = answer.json["token"]
    cookie = answer.header("set-cookie") or ""
    assert f"{COOKIE}={token}" in cookie
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert (await node.ask("GET", "/platform/api-keys", key=token)).status == 200
    assert (await node.ask("DELETE", "/platform/sessions", key=token)).status == 204
    assert_refused(await node.ask("GET", "/ping", key=token), 401, "invalid_session")
    token = await node.token()
    later.forward(hours=12, seconds=1)
    assert_refused(await node.ask("GET", "/ping", key=token), 401, "invalid_session")


async def test_a_cookie_alone_changes_nothing(node: Node) -> None:
    await node.tenant()
    token = await node.token()
    cookie = ("Cookie", f"other=1; {COOKIE}={token}")
    body = {"name": "x", "scopes": ["send_email"]}
    assert (await node.ask("GET", "/platform/api-keys", headers=[cookie])).status == 200
    forged = await node.ask("POST", "/platform/api-keys", json=body, headers=[cookie])
    assert_refused(forged, 403, "csrf_header_missing")
    own = await node.ask("POST", "/platform/api-keys", json=body, headers=[cookie, ("x-penguin-csrf", "1")])
    assert own.status == 201
    for broken in ("", "=", f"{COOKIE}", f"{COOKIE}=", f"{COOKIE}=x", f'{COOKIE}="', "a" * 9000, f"{COOKIE}=pm_sess_x"):
        assert (await node.ask("GET", "/ping", headers=[("Cookie", broken)])).status == 401


async def test_an_api_key_has_no_session_to_end(node: Node) -> None:
    key = (await node.key(await node.tenant())).key
    assert_refused(await node.ask("DELETE", "/platform/sessions", key=key), 401, "invalid_session")


async def test_a_wrong_password_and_an_unknown_address_look_alike(node: Node) -> None:
    await node.tenant()
    answers = [
        await node.ask("POST", "/platform/sessions", json={"email": email, "password": password})
        for email, password in (
            ("owner@example.com", "wrong"),
            ("owner@example.com", "x" * 73),
            ("nobody@example.com", PASSWORD),
            ("not an address", PASSWORD),
        )
    ]
    for answer in answers:
        assert_refused(answer, 401, "wrong_login")
        assert answer.json == answers[0].json


async def test_one_address_in_two_tenants_chooses(node: Node) -> None:
    first, second = await node.tenant(), await node.tenant()
    login = {"email": "owner@example.com", "password": PASSWORD}
    both = await node.ask("POST", "/platform/sessions", json=login)
    assert (both.status, both.json["code"]) == (409, "several_tenants")
    assert {tenant["id"] for tenant in both.json["tenants"]} == {first.tenant.id, second.tenant.id}
    chosen = await node.ask("POST", "/platform/sessions", json={**login, "tenant": second.tenant.id})
    assert chosen.json["tenant"] == second.tenant.id


async def test_logins_are_counted_and_refused_while_nobody_counts(node: Node) -> None:
    await node.tenant()
    login = {"email": "owner@example.com", "password": "wrong"}
    for attempt in range(20):
        answer = await node.ask("POST", "/platform/sessions", json=login, client=f"192.0.2.{attempt}")
        assert answer.status == 401
    answer = await node.ask("POST", "/platform/sessions", json=login, client="192.0.2.99")
    assert (answer.status, answer.json["violated-policies"]) == (429, ["login-address"])
    assert 1 <= int(answer.header("retry-after") or 0) <= 45
    node.redis.away = True  # type: ignore[attr-defined] # the test's own Redis
    assert (await node.ask("POST", "/platform/sessions", json=login)).status == 503


async def test_a_tenants_suspension_ends_sessions_too(node: Node) -> None:
    made = await node.tenant()
    token = await node.token()
    await node.tenants.suspend(made.tenant.id)
    assert_refused(await node.ask("GET", "/ping", key=token), 403, "tenant_suspended")
    login = {"email": "owner@example.com", "password": PASSWORD}
    assert_refused(await node.ask("POST", "/platform/sessions", json=login), 403, "tenant_suspended")


async def test_made_up_passwords_are_told_once_and_work(node: Node) -> None:
    made = await node.tenants.create_tenant("Test", owner_email="a@example.com")
    assert made.owner_password is not None
    assert made.owner_password not in repr(made)
    await node.token("a@example.com", made.owner_password)
