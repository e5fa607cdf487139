"""A real Vault that is sealed, killed, or takes its token away."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from penguin_hub import settings as settings_module
from penguin_hub import vault
from penguin_hub.platform import ids
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import SettingsError
from penguin_hub.vault import references
from penguin_hub.vault.client import TOTAL_SECONDS, VaultClient
from penguin_hub.vault.errors import SecretDamaged, SecretNotFound, VaultForbidden, VaultUnavailable
from penguin_hub.vault.hashicorp import HashicorpStore

PATH = "connections/cnx_1"
POLICY = """
path "{mount}/data/connections/*" {{ capabilities = ["create", "read", "update", "delete"] }}
path "{mount}/metadata/connections/*" {{ capabilities = ["read", "list", "delete"] }}
"""


@pytest.fixture
def tenant() -> str:
    return ids.new("ten")


class Role:
    """An AppRole of this test's own, on an auth method that may be shared with other tests."""

    def __init__(self, server: Any, policy: str = "", **options: Any) -> None:
        self.server = server
        self.name = f"hub-{uuid4().hex[:8]}"
        admin = server.admin
        if "approle/" not in admin.sys.list_auth_methods()["data"]:
            admin.sys.enable_auth_method("approle")
        admin.sys.create_or_update_policy(self.name, policy or POLICY.format(mount=server.mount))
        admin.auth.approle.create_or_update_approle(self.name, token_policies=[self.name], **options)
        self.role_id = admin.auth.approle.read_role_id(self.name)["data"]["role_id"]
        self.secret_id = admin.auth.approle.generate_secret_id(self.name)["data"]["secret_id"]

    def client(self, secret_id: str = "") -> VaultClient:
        return VaultClient(self.server.address, token=None, role_id=self.role_id, secret_id=secret_id or self.secret_id)


@pytest.fixture
def role(vault_server: Any) -> Role:
    return Role(vault_server, token_ttl="1h", token_max_ttl="4h")


@pytest.fixture
async def role_store(role: Role) -> AsyncIterator[HashicorpStore]:
    store = HashicorpStore(role.client(), mount=role.server.mount)
    await store.open()
    yield store
    await store.close()


def token_of(client: VaultClient) -> str:
    token = client._hvac.adapter.token
    assert isinstance(token, str)
    return token


def deadline() -> float:
    return time.monotonic() + TOTAL_SECONDS


async def eventually(attempt: Callable[[], Any], *, within: float = 15) -> Any:
    """The first answer that is not VaultUnavailable: the breaker asks again by itself, and says when."""
    end = time.monotonic() + within
    while True:
        try:
            return await attempt()
        except VaultUnavailable as error:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(error.retry_after or 0.1)


class TestOutage:
    async def test_a09_a_sealed_vault_is_unavailable_and_serves_again_once_unsealed(
        self, own_vault: Any, tenant: str
    ) -> None:
        store = own_vault.store()
        await store.open()
        await store.write(tenant, PATH, {"k": "v"}, cas=0)
        own_vault.seal()
        calls: list[Any] = [
            store.read(tenant, PATH), store.write(tenant, PATH, {"k": "w"}, cas=1), store.delete(tenant, PATH),
            store.list(tenant, "connections"), store.versions(tenant, PATH), store.check(),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(VaultUnavailable) as caught:
                await call
            assert caught.value.retry_after
            assert caught.value.__cause__ is None
        own_vault.unseal()
        found = await eventually(lambda: store.read(tenant, PATH))
        assert (found.fields, found.version) == ({"k": "v"}, 1)
        await store.check()
        await store.close()

    async def test_a_killed_vault_is_unavailable_soon(self, own_vault: Any, tenant: str) -> None:
        store = own_vault.store()
        await store.open()
        await store.write(tenant, PATH, {"k": "v"}, cas=0)
        own_vault.kill()
        for call in (store.read(tenant, PATH), store.check(), store.read(tenant, PATH)):
            start = time.monotonic()
            with pytest.raises(VaultUnavailable):
                await call
            assert time.monotonic() - start < TOTAL_SECONDS + 0.5
        with pytest.raises(VaultUnavailable):
            await asyncio.gather(*(store.read(tenant, f"connections/{n}") for n in range(100)))
        await store.close()

    async def test_a_vault_that_is_away_does_not_stop_the_start(self, database: Database, settings: Any) -> None:
        gone = settings_module.build(
            {"VAULT_ADDR": "http://127.0.0.1:9", "VAULT_TOKEN": "t"},
            data=settings.data,
            database_url=settings.database_url,
            redis_url=settings.redis_url,
        )
        store = await vault.open_store(gone, database)
        assert isinstance(store, HashicorpStore)
        with pytest.raises(VaultUnavailable):
            await store.check()
        await store.close()


class TestAppRole:
    async def test_a_revoked_token_is_replaced_by_a_new_login(
        self, role: Role, role_store: HashicorpStore, tenant: str
    ) -> None:
        await role_store.write(tenant, PATH, {"k": "v"}, cas=0)
        client = role_store._client
        before = token_of(client)
        role.server.admin.auth.token.revoke(before)
        found = await asyncio.gather(*(role_store.read(tenant, PATH, version=n) for n in (None, 1) for _ in range(10)))
        assert all(secret.fields == {"k": "v"} for secret in found)
        assert token_of(client) != before
        role.server.admin.auth.token.revoke(token_of(client))
        assert await role_store.write(tenant, PATH, {"k": "w"}, cas=1) == 2
        role.server.admin.auth.token.revoke(token_of(client))
        await role_store.check()

    async def test_a_policy_that_says_no_is_no_reason_to_log_in_again(
        self, role_store: HashicorpStore, tenant: str
    ) -> None:
        await role_store.write(tenant, PATH, {"k": "v"}, cas=0)
        before = token_of(role_store._client)
        for call in (role_store.read(tenant, "api_keys/key_1"), role_store.destroy(tenant, PATH, [1])):
            with pytest.raises(VaultForbidden, match="policy"):
                await call
        assert token_of(role_store._client) == before
        assert (await role_store.read(tenant, PATH)).fields == {"k": "v"}

    async def test_a_wrong_secret_id_is_not_tried_again_and_again(self, role: Role, tenant: str) -> None:
        """OpenBao locks a role after five bad logins, for everybody who uses it."""
        store = HashicorpStore(role.client(secret_id=str(uuid4())), mount=role.server.mount)
        with structlog.testing.capture_logs() as logs:
            for _ in range(12):
                with pytest.raises(VaultForbidden):
                    await store.read(tenant, PATH)
        assert [entry["event"] for entry in logs].count("vault_login_refused") == 1
        with pytest.raises(VaultForbidden) as caught:
            await store.check()
        assert caught.value.retry_after
        assert caught.value.retry_after > 10
        await store.close()
        right = HashicorpStore(role.client(), mount=role.server.mount)
        await right.check()
        await right.close()

    async def test_the_store_logs_in_and_renews_by_itself(self, vault_server: Any, tenant: str) -> None:
        role = Role(vault_server, token_ttl="2s", token_max_ttl="1h")
        client = role.client()
        renewed = asyncio.Event()
        loop = asyncio.get_running_loop()
        given = client._token.granted

        def granted(grant: Any, **options: Any) -> None:
            given(grant, **options)
            if options.get("renewed"):
                loop.call_soon_threadsafe(renewed.set)

        client._token.granted = granted  # type: ignore[method-assign]  # watches, changes nothing
        store = HashicorpStore(client, mount=vault_server.mount)
        await store.open()
        async with asyncio.timeout(10):
            await renewed.wait()
            token = token_of(client)
            renewed.clear()
            await renewed.wait()
        assert token_of(client) == token
        await store.write(tenant, PATH, {"k": "v"}, cas=0)
        await store.close()

    def test_a_token_near_its_maximum_life_is_replaced(self, vault_server: Any) -> None:
        role = Role(vault_server, token_ttl="1h", token_max_ttl="1h")
        client = role.client()
        client.keep_token(deadline())
        first = token_of(client)
        client.keep_token(deadline())
        assert token_of(client) == first
        client._token._full_ttl = 3 * 3600  # As if the token once had three hours and the renewal gave one.
        client.keep_token(deadline())
        assert token_of(client) != first
        client.close()

    def test_a_batch_token_is_replaced_and_not_renewed(self, vault_server: Any) -> None:
        client = Role(vault_server, token_ttl="1h", token_type="batch").client()
        client.keep_token(deadline())
        first = token_of(client)
        client.keep_token(deadline())
        assert token_of(client) != first
        assert 0 < (client.seconds_to_renewal() or 0) <= 3600 * 2 / 3
        client.close()


class TestGuide:
    async def test_the_policy_of_the_guide_is_enough(self, vault_server: Any, tenant: str) -> None:
        guide = (Path(__file__).parents[3] / "docs" / "operations" / "secrets.md").read_text()
        policy = guide.partition("<<'POLICY'\n")[2].partition("POLICY\n")[0]
        assert policy.count("capabilities") == 3
        role = Role(vault_server, policy.replace('"secret/', f'"{vault_server.mount}/'))
        store = HashicorpStore(role.client(), mount=vault_server.mount)
        for version in range(3):
            await store.write(tenant, PATH, {"k": str(version)}, cas=version)
        assert (await store.read(tenant, PATH, version=2)).fields == {"k": "1"}
        assert await store.list(tenant, "connections") == ["cnx_1"]
        await store.delete(tenant, PATH)
        await store.destroy(tenant, PATH, [1])
        assert [entry.destroyed for entry in await store.versions(tenant, PATH)] == [True, False, False]
        await store.erase(tenant, PATH)
        await store.check()
        await store.close()


class TestToken:
    async def test_a_revoked_token_is_an_operators_matter(self, vault_server: Any, tenant: str) -> None:
        token = vault_server.admin.auth.token.create(ttl="1h", policies=["root"])["auth"]["client_token"]
        store = HashicorpStore(vault_server.client(token), mount=vault_server.mount)
        await store.write(tenant, PATH, {"k": "v"}, cas=0)
        vault_server.admin.auth.token.revoke(token)
        for call in (store.read(tenant, PATH), store.check()):
            with pytest.raises(VaultForbidden, match="VAULT_TOKEN") as caught:
                await call
            assert token not in repr(caught.value)
        await store.close()

    def test_a_renewable_token_is_renewed_and_a_root_token_left_alone(self, vault_server: Any) -> None:
        token = vault_server.admin.auth.token.create(ttl="1h", period="1h")["auth"]["client_token"]
        client = vault_server.client(token)
        assert client.seconds_to_renewal() == 0
        for _ in range(2):
            client.keep_token(deadline())
            assert 0 < client.seconds_to_renewal() <= 3600 * 2 / 3
            assert token_of(client) == token
        client.close()
        root = vault_server.admin.auth.token.create(no_parent=True, policies=["root"], ttl="0")
        assert root["auth"]["lease_duration"] == 0
        client = vault_server.client(root["auth"]["client_token"])
        client.keep_token(deadline())
        assert client.seconds_to_renewal() is None
        client.close()


class TestForeignContent:
    async def test_values_that_are_no_text_are_damage(self, vault_server: Any, vault_store: Any, tenant: str) -> None:
        vault_server.admin.secrets.kv.v2.create_or_update_secret(
            f"connections/{tenant}/cnx_1", {"port": 25, "deep": {"a": 1}}, mount_point=vault_server.mount
        )
        with pytest.raises(SecretDamaged):
            await vault_store.read(tenant, PATH)

    async def test_secrets_lie_where_the_policies_of_the_guide_expect_them(
        self, vault_server: Any, vault_store: Any, tenant: str
    ) -> None:
        await vault_store.write(tenant, "api_keys/key_1", {"hash": "h"}, cas=0)
        await vault_store.write("system", f"oauth/{tenant}", {"k": "v"}, cas=0)
        read = vault_server.admin.secrets.kv.v2.read_secret_version
        for place in (f"api_keys/{tenant}/key_1", f"system/oauth/{tenant}"):
            assert read(place, mount_point=vault_server.mount, raise_on_deleted_version=True)["data"]["data"]

    async def test_a_mount_that_is_not_there(self, vault_server: Any, tenant: str) -> None:
        store = HashicorpStore(vault_server.client(), mount="not-mounted")
        with pytest.raises((VaultForbidden, SecretNotFound)):
            await store.read(tenant, PATH)
        with pytest.raises(VaultForbidden, match="VAULT_MOUNT"):
            await store.write(tenant, PATH, {"k": "v"}, cas=0)
        await store.close()


class TestReferences:
    @pytest.fixture
    def environ(self, vault_server: Any) -> dict[str, str]:
        return {
            "VAULT_ADDR": vault_server.address, "VAULT_TOKEN": vault_server.token, "VAULT_MOUNT": vault_server.mount,
            "HOME": "/home/somebody",
        }  # fmt: skip

    @pytest.fixture
    def place(self, vault_server: Any) -> str:
        name = f"penguinmails/{uuid4().hex}"

        def put(suffix: str, fields: dict[str, Any]) -> None:
            vault_server.admin.secrets.kv.v2.create_or_update_secret(
                f"{name}/{suffix}", fields, mount_point=vault_server.mount
            )

        put("only", {"whatever": "postgresql://u:p@db/penguin"})
        put("several", {"value": "redis://r", "other": "canary-B7"})
        put("unnamed", {"a": "1", "b": "2"})
        put("number", {"value": 5})
        return f"{vault_server.mount}/{name}"

    def test_k1_references_are_read_before_settings_are_parsed(self, environ: dict[str, str], place: str) -> None:
        environ |= {"DATABASE_URL": f"vault:{place}/only", "REDIS_URL": f"vault:{place}/several"}
        environ["PENGUIN_PUBLIC_URL"] = f"vault:{place}/several#other"
        settings = settings_module.load(environ)
        assert settings.database_url == "postgresql://u:p@db/penguin"
        assert settings.redis_url == "redis://r"
        assert settings.public_url == "canary-B7"
        assert environ["REDIS_URL"].startswith("vault:")

    @pytest.mark.parametrize(
        ("suffix", "sentence"),
        [
            ("/several#missing", "no field 'missing'"),
            ("/unnamed", "has 2 fields; name one with"),
            ("/number", "not text"),
            ("/nowhere", "no such secret"),
        ],
    )
    def test_k1_what_cannot_be_resolved_names_the_variable(
        self, environ: dict[str, str], place: str, suffix: str, sentence: str
    ) -> None:
        with pytest.raises(SettingsError, match=sentence) as caught:
            references.resolve(environ | {"SOME_KEY": f"vault:{place}{suffix}"})
        assert str(caught.value).startswith("SOME_KEY: ")
        assert "canary" not in str(caught.value)

    def test_k1_a_refused_token_is_said(self, environ: dict[str, str], place: str) -> None:
        with pytest.raises(SettingsError, match="VAULT_TOKEN has expired or was revoked"):
            references.resolve(environ | {"VAULT_TOKEN": "wrong", "SOME_KEY": f"vault:{place}/only"})
