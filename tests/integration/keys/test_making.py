"""Keys are made, shown once, listed, changed and rotated."""

import re
from typing import Any

from penguin_hub.platform.db import owner
from penguin_hub.settings import Settings
from support.keys import Node


async def dump(settings: Settings) -> str:
    """Every row of every table, as text."""
    async with owner(settings.database_url) as connection:
        tables = await connection.fetch(
            "SELECT format('%I', tablename) AS t FROM pg_tables WHERE schemaname = 'public'"
        )
        rows = [await connection.fetch(f"SELECT x::text FROM {table['t']} x") for table in tables]
    return "\n".join(row["x"] for found in rows for row in found)


async def test_a01_a_key_is_shown_once_and_kept_nowhere(make_node: Any, settings: Settings, caplog: Any) -> None:
    node: Node = await make_node(rounds=12)
    made = await node.tenant()
    owner_token = await node.token()
    answer = await node.ask(
        "POST", "/platform/api-keys", key=owner_token, json={"name": "Billing", "scopes": ["send_email"]}
    )
    assert answer.status == 201
    assert answer.header("cache-control") == "no-store"
    key, key_id = answer.json["key"], answer.json["id"]
    assert re.fullmatch(r"pm_live_[0-9A-Za-z]{32}", key)
    assert (await node.ask("GET", "/ping", key=key)).status == 200

    later = await node.ask("GET", f"/platform/api-keys/{key_id}", key=owner_token)
    listed = await node.ask("GET", "/platform/api-keys", key=owner_token)
    assert (later.json["prefix"], later.json["last4"]) == ("pm_live_", key[-4:])
    assert "key" not in later.json
    assert later.json == listed.json["data"][0]

    secret = await node.secrets.read(made.tenant.id, f"api_keys/{key_id}")
    assert secret.fields["bcrypt"].startswith("$2b$12$")

    import hashlib

    await node.gate.usage.flush()
    kept = await dump(settings)
    for place in await node.redis.call("KEYS", "*"):
        kind = (await node.redis.call("TYPE", place)).decode()
        value = await node.redis.call(*{"string": ("GET", place), "hash": ("HGETALL", place)}[kind])
        kept += f"\n{place!r} {value!r}"
    kept += caplog.text + later.body.decode() + listed.body.decode()
    assert key_id in kept
    for form in (key, key.removeprefix("pm_live_"), key[:-4], hashlib.sha256(key.encode()).hexdigest()):
        assert form not in kept


async def test_a_test_key_has_its_own_prefix(node: Node) -> None:
    made = await node.tenant()
    key = await node.key(made, environment="test")
    assert re.fullmatch(r"pm_test_[0-9A-Za-z]{32}", key.key)


async def test_a06_an_unknown_scope_is_refused(node: Node) -> None:
    await node.tenant()
    token = await node.token()
    answer = await node.ask("POST", "/platform/api-keys", key=token, json={"name": "x", "scopes": ["root"]})
    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == "#/scopes/0"


async def test_a06_each_scope_opens_its_own_operations_and_no_others(node: Node) -> None:
    from penguin_hub.http.guards import SCOPES

    made = await node.tenant()
    for scope in SCOPES:
        key = (await node.key(made, scopes=[scope])).key
        for other in SCOPES:
            answer = await node.ask("GET", f"/needs/{other}", key=key)
            if other == scope:
                assert answer.status == 200
            else:
                assert (answer.status, answer.json["code"]) == (403, "missing_scope")
                assert answer.json["needed_scope"] == other


async def test_bad_bodies_are_told_apart(node: Node) -> None:
    await node.tenant()
    token = await node.token()
    for body, pointer in (
        ({"name": "x"}, "#/scopes"),
        ({"name": "", "scopes": ["send_email"]}, "#/name"),
        ({"name": "x", "scopes": ["send_email"], "allowed_ips": ["10.0.0.1/8"]}, "#/allowed_ips/0"),
        ({"name": "x", "scopes": ["send_email"], "allowed_ips": ["fe80::1%eth0"]}, "#/allowed_ips/0"),
        ({"name": "x", "scopes": ["send_email"], "expires_at": "2020-01-01T00:00:00Z"}, "#/expires_at"),
        ({"name": "x", "scopes": ["send_email"], "expires_at": "2999-01-01T00:00:00"}, "#/expires_at"),
        ({"name": "x", "scopes": ["send_email"], "tenant_id": "ten_x"}, "#/tenant_id"),
    ):
        answer = await node.ask("POST", "/platform/api-keys", key=token, json=body)
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, pointer), answer.body


async def test_only_admins_manage_keys_and_only_owners_make_admins(node: Node) -> None:
    made = await node.tenant()
    plain = (await node.key(made)).key
    admin = (await node.key(made, admin=True)).key
    body = {"name": "x", "scopes": ["send_email"]}
    assert (await node.ask("POST", "/platform/api-keys", key=plain, json=body)).json["code"] == "admin_only"
    assert (await node.ask("GET", "/platform/api-keys", key=plain)).status == 403
    assert (await node.ask("POST", "/platform/api-keys", key=admin, json=body)).status == 201
    refused = await node.ask("POST", "/platform/api-keys", key=admin, json={**body, "admin": True})
    assert (refused.status, refused.json["code"]) == (403, "cannot_grant")
    token = await node.token()
    assert (await node.ask("POST", "/platform/api-keys", key=token, json={**body, "admin": True})).status == 201


async def test_nobody_grants_what_he_has_not(node: Node) -> None:
    made = await node.tenant()
    narrow = (await node.key(made, scopes=["send_email"], admin=True)).key
    body = {"name": "x", "scopes": ["send_email", "manage_webhooks"]}
    refused = await node.ask("POST", "/platform/api-keys", key=narrow, json=body)
    assert (refused.status, refused.json["needed_scope"]) == (403, "manage_webhooks")
    test = (await node.key(made, environment="test", admin=True)).key
    refused = await node.ask("POST", "/platform/api-keys", key=test, json={"name": "x", "scopes": ["send_email"]})
    assert (refused.status, refused.json["code"]) == (403, "cannot_grant")
    wide = await node.key(made)
    rotated = await node.ask("POST", f"/platform/api-keys/{wide.id}/rotate", key=narrow, json={})
    assert (rotated.status, rotated.json["code"]) == (403, "cannot_grant")
    changed = await node.ask("PATCH", f"/platform/api-keys/{wide.id}", key=narrow, json={"scopes": ["send_email"]})
    assert changed.status == 200, "taking scopes away, or keeping what is there, hands out nothing"


async def test_an_admin_key_is_rotated_by_itself_or_an_owner(node: Node) -> None:
    made = await node.tenant()
    one, other = await node.key(made, admin=True), await node.key(made, admin=True)
    path = f"/platform/api-keys/{one.id}/rotate"
    assert (await node.ask("POST", path, key=other.key, json={})).status == 403
    answer = await node.ask("POST", path, key=one.key, json={})
    assert (answer.status, answer.json["admin"], answer.json["rotated_from"]) == (201, True, one.id)


async def test_a19_changes_are_guarded_by_the_version(node: Node) -> None:
    made = await node.tenant()
    token = await node.token()
    key = await node.key(made)
    path = f"/platform/api-keys/{key.id}"
    etag = (await node.ask("GET", path, key=token)).header("etag") or ""
    first = await node.ask("PATCH", path, key=token, json={"name": "One"}, headers=[("if-match", etag)])
    assert (first.status, first.json["name"]) == (200, "One")
    stale = await node.ask("PATCH", path, key=token, json={"name": "Two"}, headers=[("if-match", etag)])
    assert (stale.status, stale.json["code"]) == (412, "api_key_changed")
    for field in ("id", "tenant_id", "created_at", "admin", "environment"):
        assert (await node.ask("PATCH", path, key=token, json={field: "x"})).status == 422
    assert (await node.ask("GET", path, key=token)).json["name"] == "One"


async def test_a_rotated_key_is_changed_no_more_once_it_has_ended(node: Node) -> None:
    made = await node.tenant()
    token = await node.token()
    key = await node.key(made)
    await node.ask("DELETE", f"/platform/api-keys/{key.id}", key=token)
    again = await node.ask("DELETE", f"/platform/api-keys/{key.id}", key=token)
    assert again.status == 204
    for method, path, body in (("PATCH", "", {"name": "x"}), ("POST", "/rotate", {})):
        answer = await node.ask(method, f"/platform/api-keys/{key.id}{path}", key=token, json=body)
        assert (answer.status, answer.json["code"]) == (409, "api_key_not_active")


async def test_lists_are_paged_filtered_and_sorted(node: Node) -> None:
    made = await node.tenant()
    token = await node.token()
    for name in ("c", "a", "b"):
        await node.key(made, name=name, environment="test" if name == "b" else "live")
    first = await node.ask("GET", "/platform/api-keys?limit=2&sort_by=name&order=asc", key=token)
    assert [key["name"] for key in first.json["data"]] == ["a", "b"]
    cursor = first.json["next_cursor"]
    rest = await node.ask("GET", f"/platform/api-keys?limit=2&sort_by=name&order=asc&cursor={cursor}", key=token)
    assert ([key["name"] for key in rest.json["data"]], rest.json["has_more"]) == (["c"], False)
    assert (await node.ask("GET", f"/platform/api-keys?cursor={cursor}", key=token)).status == 400
    live = await node.ask("GET", "/platform/api-keys?environment=live&offset=0", key=token)
    assert live.json["total"] == 2
    revoked = await node.ask("GET", "/platform/api-keys?status=revoked&offset=0", key=token)
    assert revoked.json["total"] == 0
    for query in ("limit=0", "limit=101", "limit=abc", "offset=1000000000", "sort_by=key_hmac", "status=x"):
        answer = await node.ask("GET", f"/platform/api-keys?{query}", key=token)
        assert (answer.status, answer.json["code"]) == (400, "bad_parameter"), query


async def test_a25_a_foreign_key_is_not_there(node: Node) -> None:
    mine = await node.tenant()
    other = await node.tenant(email="other@example.com")
    foreign = await node.key(other)
    token = await node.token()
    missing = "key_" + "0" * 26
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("POST", "/rotate", {}),
        ("GET", "/usage", None),
    ):
        theirs = await node.ask(method, f"/platform/api-keys/{foreign.id}{path}", key=token, json=body)
        nobodys = await node.ask(method, f"/platform/api-keys/{missing}{path}", key=token, json=body)
        malformed = await node.ask(method, f"/platform/api-keys/x{path}", key=token, json=body)
        assert theirs.status == nobodys.status == malformed.status == 404
        assert theirs.json == nobodys.json == malformed.json
    assert (await node.ask("GET", "/ping", key=foreign.key)).status == 200
    listed = await node.ask("GET", "/platform/api-keys", key=token)
    assert listed.json["data"] == []
    assert mine.tenant.id not in (await node.ask("GET", "/ping", key=foreign.key)).body.decode()


async def test_a_tenant_has_so_many_keys_and_no_more(node: Node, monkeypatch: Any) -> None:
    monkeypatch.setattr("penguin_hub.keys.service.MOST_KEYS", 2)
    await node.tenant()
    token = await node.token()
    body = {"name": "x", "scopes": ["send_email"]}
    ids = [(await node.ask("POST", "/platform/api-keys", key=token, json=body)).json["id"] for _ in range(2)]
    full = await node.ask("POST", "/platform/api-keys", key=token, json=body)
    assert (full.status, full.json["code"]) == (409, "too_many_api_keys")
    await node.ask("DELETE", f"/platform/api-keys/{ids[0]}", key=token)
    assert (await node.ask("POST", "/platform/api-keys", key=token, json=body)).status == 201


async def test_making_a_key_is_written_down_with_the_address(node: Node) -> None:
    await node.tenant()
    token = await node.token()
    body = {"name": "x", "scopes": ["send_email"]}
    made = await node.ask("POST", "/platform/api-keys", key=token, json=body, client="198.51.100.7")
    await node.ask("DELETE", f"/platform/api-keys/{made.json['id']}", key=token)
    log = await node.ask("GET", f"/platform/audit-log?target={made.json['id']}", key=token)
    assert [(entry["action"], entry["ip"]) for entry in log.json["data"]] == [
        ("api_key.revoked", "127.0.0.1"),
        ("api_key.created", "198.51.100.7"),
    ]
    assert log.json["data"][1]["detail"] == {"environment": "live", "scopes": ["send_email"], "admin": False}
