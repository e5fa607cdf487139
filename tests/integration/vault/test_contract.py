"""One suite, two stores: whatever is promised in `vault.service` holds for both."""

import asyncio
import logging
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import structlog
from penguin_hub.platform import ids
from penguin_hub.platform.errors import HubError
from penguin_hub.vault import SecretStore
from penguin_hub.vault.embedded import EmbeddedStore
from penguin_hub.vault.errors import CasConflict, SecretNotFound, SecretTooLarge
from penguin_hub.vault.hashicorp import HashicorpStore
from penguin_hub.vault.paths import SYSTEM
from penguin_hub.vault.service import MAX_BYTES, MAX_VERSIONS

CANARY = "canary-7Jq2wXz9"

BAD_PATHS = [
    *("", "/", "a//b", "../x", "connections/../ten", "connections/.", "connections/%2e%2e", "connections/a b"),
    *("connections/a|b", "system/x", "connections/", "/connections", "connections/a\x00", "Connections"),
    *("a/" * 9 + "a", "connections/ä", "connections/a\n"),
]
BAD_TENANTS = ["", "ten_", "System", "*", "ten_" + "A" * 26, "../" + "ten_" + "0" * 26, "con_" + "0" * 26]


@pytest.fixture
def tenant() -> str:
    return ids.new("ten")


class Contract:
    """Inherited once for each store, which gives the fixture `store`."""

    async def test_what_is_written_is_read(self, store: SecretStore, tenant: str) -> None:
        fields = {"password": "pä55 \x00 \n\U0001f427", "empty": "", "user": "me"}
        before = datetime.now(UTC) - timedelta(seconds=5)
        assert await store.write(tenant, "connections/cnx_1", fields, cas=0) == 1
        secret = await store.read(tenant, "connections/cnx_1")
        assert (secret.fields, secret.version) == (fields, 1)
        assert before < secret.created_at < datetime.now(UTC) + timedelta(seconds=5)

    async def test_a_missing_secret_is_not_found(self, store: SecretStore, tenant: str) -> None:
        with pytest.raises(SecretNotFound):
            await store.read(tenant, "connections/cnx_1")
        with pytest.raises(SecretNotFound):
            await store.versions(tenant, "connections/cnx_1")
        await store.write(tenant, "connections/cnx_1", {"a": "1"}, cas=0)
        with pytest.raises(SecretNotFound):
            await store.read(tenant, "connections/cnx_1", version=2)
        with pytest.raises(SecretNotFound):
            await store.read(tenant, "connections/cnx_1/more")
        with pytest.raises(SecretNotFound):
            await store.read(tenant, "connections")

    async def test_cas_creates_once_and_replaces_only_what_was_read(self, store: SecretStore, tenant: str) -> None:
        path = "api_keys/key_1"
        with pytest.raises(CasConflict):
            await store.write(tenant, path, {"hash": "x"}, cas=1)
        assert await store.write(tenant, path, {"hash": "x"}, cas=0) == 1
        with pytest.raises(CasConflict):
            await store.write(tenant, path, {"hash": "y"}, cas=0)
        assert await store.write(tenant, path, {"hash": "y"}, cas=1) == 2
        with pytest.raises(CasConflict):
            await store.write(tenant, path, {"hash": "z"}, cas=1)
        assert (await store.read(tenant, path)).fields == {"hash": "y"}
        assert await store.write(tenant, path, {"hash": "w"}, cas=None) == 3
        assert await store.write(tenant, "api_keys/key_2", {"hash": "w"}, cas=None) == 1

    async def test_of_many_creators_one_wins(self, store: SecretStore, tenant: str) -> None:
        attempts = [store.write(tenant, "api_keys/key_1", {"by": str(n)}, cas=0) for n in range(20)]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert outcomes.count(1) == 1
        assert sum(isinstance(outcome, CasConflict) for outcome in outcomes) == 19
        winner = outcomes.index(1)
        assert (await store.read(tenant, "api_keys/key_1")).fields == {"by": str(winner)}

    async def test_no_increment_is_lost(self, store: SecretStore, tenant: str) -> None:
        path = "webhooks/whk_1"
        await store.write(tenant, path, {"count": "0"}, cas=0)

        async def increment() -> None:
            while True:
                found = await store.read(tenant, path)
                try:
                    await store.write(tenant, path, {"count": str(int(found.fields["count"]) + 1)}, cas=found.version)
                except CasConflict:
                    continue
                return

        await asyncio.gather(*(increment() for _ in range(8)))
        found = await store.read(tenant, path)
        assert (found.fields["count"], found.version) == ("8", 9)

    async def test_earlier_versions_stay_readable_up_to_the_limit(self, store: SecretStore, tenant: str) -> None:
        for version in range(MAX_VERSIONS + 1):
            await store.write(tenant, "oauth/cnx_1", {"n": str(version + 1)}, cas=version)
        kept = range(2, MAX_VERSIONS + 2)
        for version in kept:
            assert (await store.read(tenant, "oauth/cnx_1", version=version)).fields == {"n": str(version)}
        assert [entry.version for entry in await store.versions(tenant, "oauth/cnx_1")] == list(kept)
        for version in (1, MAX_VERSIONS + 2):
            with pytest.raises(SecretNotFound):
                await store.read(tenant, "oauth/cnx_1", version=version)

    async def test_deleting_hides_the_latest_version_and_keeps_its_number(
        self, store: SecretStore, tenant: str
    ) -> None:
        path = "connections/cnx_1"
        await store.write(tenant, path, {"a": "1"}, cas=0)
        await store.write(tenant, path, {"a": "2"}, cas=1)
        await store.delete(tenant, path)
        await store.delete(tenant, path)
        with pytest.raises(SecretNotFound):
            await store.read(tenant, path)
        with pytest.raises(SecretNotFound):
            await store.read(tenant, path, version=2)
        assert (await store.read(tenant, path, version=1)).fields == {"a": "1"}
        first, second = await store.versions(tenant, path)
        assert first.deleted_at is None
        assert second.deleted_at is not None
        assert not second.destroyed
        with pytest.raises(CasConflict):
            await store.write(tenant, path, {"a": "3"}, cas=0)
        assert await store.write(tenant, path, {"a": "3"}, cas=2) == 3
        assert (await store.read(tenant, path)).fields == {"a": "3"}

    async def test_destroying_removes_the_versions_named(self, store: SecretStore, tenant: str) -> None:
        path = "connections/cnx_1"
        for version in range(3):
            await store.write(tenant, path, {"a": str(version + 1)}, cas=version)
        await store.destroy(tenant, path, [1, 3, 77])
        for gone in (1, 3, None):
            with pytest.raises(SecretNotFound):
                await store.read(tenant, path, version=gone)
        assert (await store.read(tenant, path, version=2)).fields == {"a": "2"}
        assert [entry.destroyed for entry in await store.versions(tenant, path)] == [True, False, True]
        assert await store.write(tenant, path, {"a": "4"}, cas=3) == 4

    async def test_erasing_forgets_the_path(self, store: SecretStore, tenant: str) -> None:
        await store.write(tenant, "connections/cnx_1", {"a": "1"}, cas=0)
        await store.write(tenant, "connections/cnx_1", {"a": "2"}, cas=1)
        await store.erase(tenant, "connections/cnx_1")
        for version in (None, 1, 2):
            with pytest.raises(SecretNotFound):
                await store.read(tenant, "connections/cnx_1", version=version)
        assert await store.list(tenant, "connections") == []
        assert await store.write(tenant, "connections/cnx_1", {"a": "new"}, cas=0) == 1
        assert (await store.read(tenant, "connections/cnx_1")).fields == {"a": "new"}

    async def test_removing_what_is_not_there_is_no_error(self, store: SecretStore, tenant: str) -> None:
        await store.delete(tenant, "connections/cnx_1")
        await store.destroy(tenant, "connections/cnx_1", [1])
        await store.erase(tenant, "connections/cnx_1")
        with pytest.raises(SecretNotFound):
            await store.read(tenant, "connections/cnx_1")

    async def test_names_are_listed_one_level_at_a_time(self, store: SecretStore, tenant: str) -> None:
        for path in ("dkim/b", "dkim/a", "dkim/a/2026", "dkim/c/x/y", "dkim2/other", "dkim_x"):
            await store.write(tenant, path, {"k": "v"}, cas=0)
        await store.delete(tenant, "dkim/b")
        assert await store.list(tenant, "dkim") == ["a", "a/", "b", "c/"]
        assert await store.list(tenant, "dkim/c") == ["x/"]
        assert await store.list(tenant, "nothing") == []

    async def test_tenants_and_the_system_do_not_see_each_other(self, store: SecretStore, tenant: str) -> None:
        other, path = ids.new("ten"), f"connections/{ids.new('cnx')}"
        owners = (tenant, other, SYSTEM)
        for owner in owners:
            await store.write(owner, path, {"of": owner}, cas=0)
        assert [(await store.read(owner, path)).fields["of"] for owner in owners] == [*owners]
        await store.erase(other, path)
        with pytest.raises(SecretNotFound):
            await store.read(other, path)
        assert (await store.read(tenant, path)).fields == {"of": tenant}
        assert (await store.read(SYSTEM, path)).fields == {"of": SYSTEM}
        assert await store.list(other, "connections") == []
        await store.erase(SYSTEM, path)

    @pytest.mark.parametrize("bad", BAD_PATHS)
    async def test_a_path_of_another_form_reaches_no_store(self, store: SecretStore, tenant: str, bad: str) -> None:
        calls: list[Any] = [
            store.read(tenant, bad), store.write(tenant, bad, {"a": "b"}, cas=None), store.delete(tenant, bad),
            store.destroy(tenant, bad, [1]), store.erase(tenant, bad), store.list(tenant, bad),
            store.versions(tenant, bad),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(ValueError, match="not a secret path"):
                await call

    @pytest.mark.parametrize("bad", BAD_TENANTS)
    async def test_a_tenant_of_another_form_reaches_no_store(self, store: SecretStore, bad: str) -> None:
        for call in (store.read(bad, "connections/a"), store.write(bad, "connections/a", {"a": "b"}, cas=None)):
            with pytest.raises(ValueError, match="not a tenant id"):
                await call

    async def test_a_secret_has_fields_and_a_size(self, store: SecretStore, tenant: str) -> None:
        with pytest.raises(ValueError, match="non-empty"):
            await store.write(tenant, "connections/a", {}, cas=0)
        with pytest.raises(SecretTooLarge):
            await store.write(tenant, "connections/a", {"k": "x" * MAX_BYTES}, cas=0)
        largest = {"k": "x" * (MAX_BYTES - len('{"k":""}'))}
        await store.write(tenant, "connections/a", largest, cas=0)
        assert (await store.read(tenant, "connections/a")).fields == largest

    async def test_readers_of_one_path_share_an_answer_and_not_its_fields(
        self, store: SecretStore, tenant: str
    ) -> None:
        await store.write(tenant, "connections/a", {"k": "v"}, cas=0)
        found = await asyncio.gather(*(store.read(tenant, "connections/a") for _ in range(200)))
        found[0].fields["k"] = "spoiled"
        assert all(secret.fields == {"k": "v"} for secret in found[1:])

    async def test_a_reader_sees_what_this_process_wrote_before(self, store: SecretStore, tenant: str) -> None:
        await store.write(tenant, "connections/a", {"n": "0"}, cas=0)
        stop = asyncio.Event()

        async def keep_reading() -> None:
            while not stop.is_set():
                await store.read(tenant, "connections/a")

        readers = [asyncio.create_task(keep_reading()) for _ in range(4)]
        for n in range(1, 20):
            await store.write(tenant, "connections/a", {"n": str(n)}, cas=n)
            assert (await store.read(tenant, "connections/a")).fields == {"n": str(n)}
        stop.set()
        await asyncio.gather(*readers)

    async def test_a_cancelled_reader_takes_no_other_reader_along(self, store: SecretStore, tenant: str) -> None:
        await store.write(tenant, "connections/a", {"k": "v"}, cas=0)
        readers = [asyncio.create_task(store.read(tenant, "connections/a")) for _ in range(3)]
        await asyncio.sleep(0)
        readers[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await readers[0]
        assert [(await reader).fields for reader in readers[1:]] == [{"k": "v"}] * 2

    async def test_the_store_says_that_it_works(self, store: SecretStore) -> None:
        await store.check()

    async def test_no_value_reaches_a_log_an_error_or_a_repr(
        self, store: SecretStore, tenant: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        texts: list[str] = [repr(store)]
        with structlog.testing.capture_logs() as logs:
            await store.write(tenant, "connections/a", {"k": CANARY}, cas=0)
            secret = await store.read(tenant, "connections/a")
            texts += [repr(secret), str(secret), repr(secret.__rich_repr__()), repr([secret])]
            texts += [repr(await store.versions(tenant, "connections/a"))]
            for attempt in (
                store.write(tenant, "connections/a", {"k": CANARY}, cas=0),
                store.write(tenant, "connections/b", {"k": CANARY * MAX_BYTES}, cas=0),
                store.read(tenant, "connections/a", version=9),
            ):
                with pytest.raises(HubError) as caught:
                    await attempt
                texts += [repr(caught.value), *traceback.format_exception(caught.value)]
                assert caught.value.__cause__ is None
        texts += [repr(logs), caplog.text]
        assert secret.fields == {"k": CANARY}
        assert not [text for text in texts if CANARY in text]
        assert CANARY in msgspec.json.encode(secret).decode()  # The search itself would find it.


class TestEmbedded(Contract):
    @pytest.fixture
    def store(self, embedded_store: EmbeddedStore) -> SecretStore:
        return embedded_store


class TestVault(Contract):
    @pytest.fixture
    def store(self, vault_store: HashicorpStore) -> SecretStore:
        return vault_store
