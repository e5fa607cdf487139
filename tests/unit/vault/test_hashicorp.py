"""The Vault client against answers that a development server never gives."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from penguin_hub.platform import ids
from penguin_hub.vault import client as client_module
from penguin_hub.vault import hashicorp
from penguin_hub.vault.breaker import Breaker
from penguin_hub.vault.client import THREADS, VaultClient
from penguin_hub.vault.errors import CasConflict, SecretNotFound, VaultForbidden, VaultUnavailable
from penguin_hub.vault.hashicorp import HashicorpStore

TENANT = ids.new("ten")
PATH = "connections/cnx_1"
TOKEN = "canary-token-93f1"
STALE = {"errors": ["check-and-set parameter did not match the current version"]}


def secret(version: int = 1, **fields: str) -> dict[str, Any]:
    metadata = {"version": version, "created_time": "2026-01-02T03:04:05.123456789Z", "deletion_time": ""}
    return {"data": {"data": fields or {"k": "v"}, "metadata": metadata}}


@pytest.fixture
async def store(stand_in: Any) -> AsyncIterator[HashicorpStore]:
    # Not opened: nothing but what a test asks reaches the stand-in.
    store = HashicorpStore(
        VaultClient(stand_in.address, token=TOKEN, role_id=None, secret_id=None, namespace="team"), mount="kv/prod"
    )
    yield store
    stand_in.released.set()
    await store.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> float:
    """A total time that a test can wait for."""
    monkeypatch.setattr(hashicorp, "TOTAL_SECONDS", 0.6)
    return 0.6


async def test_a_request_carries_token_and_namespace_and_the_mounts_path(stand_in: Any, store: HashicorpStore) -> None:
    stand_in.answers = [(200, secret(3, k="v"))]
    found = await store.read(TENANT, PATH, version=3)
    assert (found.fields, found.version) == ({"k": "v"}, 3)
    assert found.created_at.microsecond in (123456, 123457)
    (asked,) = stand_in.asked
    assert (asked.method, asked.path) == ("GET", f"/v1/kv/prod/data/connections/{TENANT}/cnx_1?version=3")
    assert asked.headers["X-Vault-Token"] == TOKEN
    assert asked.headers["X-Vault-Namespace"] == "team"


@pytest.mark.parametrize("status", [412, 429, 500, 502, 503, 504])
async def test_what_may_pass_by_itself_is_asked_again(stand_in: Any, store: HashicorpStore, status: int) -> None:
    stand_in.answers = [(status, {"errors": []}), (status, b"<html>"), (200, secret())]
    assert (await store.read(TENANT, PATH)).fields == {"k": "v"}
    assert len(stand_in.asked) == 3


@pytest.mark.parametrize("status", [412, 429, 472, 473, 474, 500, 501, 502, 503, 504, 530, 301, 307])
async def test_a_vault_that_cannot_serve_is_unavailable(stand_in: Any, store: HashicorpStore, status: int) -> None:
    stand_in.answers = [(status, {"errors": ["some words of theirs"]})]
    with pytest.raises(VaultUnavailable) as caught:
        await store.read(TENANT, PATH)
    assert caught.value.retry_after
    assert "theirs" not in caught.value.detail
    assert 1 <= len(stand_in.asked) <= 3
    assert not [asked for asked in stand_in.asked if asked.path == "/stolen"]


async def test_a_sealed_vault_is_not_asked_again(stand_in: Any, store: HashicorpStore) -> None:
    stand_in.answers = [(503, {"errors": ["Vault is sealed"]})]
    with pytest.raises(VaultUnavailable, match="sealed"):
        await store.read(TENANT, PATH)
    assert len(stand_in.asked) == 1


class TestWrites:
    @pytest.mark.parametrize("status", [0, 412, 500, 503])
    async def test_a_write_without_cas_is_sent_once(self, stand_in: Any, store: HashicorpStore, status: int) -> None:
        stand_in.answers = [(status, {"errors": []}), (200, {"data": {"version": 1}})]
        with pytest.raises(VaultUnavailable):
            await store.write(TENANT, PATH, {"k": "v"}, cas=None)
        assert len(stand_in.asked) == 1
        assert "cas" not in msgspec.json.decode(stand_in.asked[0].body)["options"]

    @pytest.mark.parametrize("status", [0, 412, 500, 503])
    async def test_a_write_with_cas_is_sent_again(self, stand_in: Any, store: HashicorpStore, status: int) -> None:
        stand_in.answers = [(status, {"errors": []}), (200, {"data": {"version": 5}})]
        assert await store.write(TENANT, PATH, {"k": "v"}, cas=4) == 5
        assert [msgspec.json.decode(asked.body)["options"]["cas"] for asked in stand_in.asked] == [4, 4]

    async def test_our_own_write_whose_answer_was_lost_is_no_conflict(
        self, stand_in: Any, store: HashicorpStore
    ) -> None:
        stand_in.answers = [(0, b""), (400, STALE), (200, secret(5, k="ours"))]
        assert await store.write(TENANT, PATH, {"k": "ours"}, cas=4) == 5

    @pytest.mark.parametrize("found", [secret(5, k="theirs"), secret(6, k="ours"), secret(4, k="ours")])
    async def test_somebody_elses_write_is_a_conflict_also_on_the_second_attempt(
        self, stand_in: Any, store: HashicorpStore, found: dict[str, Any]
    ) -> None:
        stand_in.answers = [(0, b""), (400, STALE), (200, found)]
        with pytest.raises(CasConflict):
            await store.write(TENANT, PATH, {"k": "ours"}, cas=4)

    async def test_a_conflict_at_once_is_a_conflict_without_a_further_look(
        self, stand_in: Any, store: HashicorpStore
    ) -> None:
        stand_in.answers = [(400, STALE)]
        with pytest.raises(CasConflict):
            await store.write(TENANT, PATH, {"k": "ours"}, cas=4)
        assert len(stand_in.asked) == 1

    async def test_another_400_is_a_matter_of_the_set_up(self, stand_in: Any, store: HashicorpStore) -> None:
        stand_in.answers = [(400, {"errors": ["check-and-set parameter required for this call"]})]
        with pytest.raises(VaultForbidden):
            await store.write(TENANT, PATH, {"k": "v"}, cas=None)


class TestTime:
    async def test_a_vault_that_hangs_costs_the_total_time_and_no_more(
        self, stand_in: Any, store: HashicorpStore, short: float
    ) -> None:
        stand_in.answers = [lambda _: (stand_in.released.wait(20), (200, secret()))[1]]
        start = time.monotonic()
        with pytest.raises(VaultUnavailable):
            await store.read(TENANT, PATH)
        assert short * 0.8 < time.monotonic() - start < short + 0.5

    async def test_a_crowd_before_a_hanging_vault_is_sent_home_and_the_loop_goes_on(
        self, stand_in: Any, store: HashicorpStore, short: float
    ) -> None:
        stand_in.answers = [lambda _: (stand_in.released.wait(20), (200, secret()))[1]]
        pauses: list[float] = []

        async def heartbeat() -> None:
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.005)
                pauses.append(time.monotonic() - before)

        beating = asyncio.create_task(heartbeat())
        start = time.monotonic()
        crowd = [store.read(TENANT, f"connections/cnx_{n}") for n in range(200)]
        outcomes = await asyncio.gather(*crowd, return_exceptions=True)
        took = time.monotonic() - start
        beating.cancel()
        assert all(isinstance(outcome, VaultUnavailable) for outcome in outcomes)
        assert took < 2 * short + 1
        assert sorted(pauses)[len(pauses) // 2] < 0.05
        assert len(stand_in.asked) <= 2 * THREADS

    async def test_at_most_so_many_threads_ask_at_once(self, stand_in: Any, store: HashicorpStore) -> None:
        lock, full = threading.Lock(), threading.Barrier(THREADS)
        now = most = 0

        def answer(_: Any) -> tuple[int, Any]:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            full.wait(10)  # Nobody is answered before THREADS ask at once.
            with lock:
                now -= 1
            return 200, secret()

        stand_in.answers = [answer]
        await asyncio.gather(*(store.read(TENANT, f"connections/cnx_{n}") for n in range(THREADS * 4)))
        assert most == THREADS

    async def test_readers_of_one_path_cost_one_request(self, stand_in: Any, store: HashicorpStore) -> None:
        both_asked = threading.Barrier(3)
        stand_in.answers = [lambda _: (both_asked.wait(10), (200, secret()))[1]]
        readers = [asyncio.create_task(store.read(TENANT, PATH)) for _ in range(500)]
        other = asyncio.create_task(store.read(TENANT, PATH, version=1))
        await asyncio.to_thread(both_asked.wait, 10)
        assert len(await asyncio.gather(*readers, other)) == 501
        assert len(stand_in.asked) == 2

    async def test_after_failures_nobody_asks_until_one_probe_succeeds(self, stand_in: Any) -> None:
        clock = [0.0]
        client = VaultClient(
            stand_in.address, token=TOKEN, role_id=None, secret_id=None, breaker=Breaker(lambda: clock[0])
        )
        store = HashicorpStore(client, mount="secret")
        stand_in.answers = [(501, {"errors": []})]
        for _ in range(3):
            with pytest.raises(VaultUnavailable):
                await store.read(TENANT, PATH)
        asked = len(stand_in.asked)
        for _ in range(20):
            with pytest.raises(VaultUnavailable) as caught:
                await store.read(TENANT, PATH)
        assert len(stand_in.asked) == asked
        clock[0] += caught.value.retry_after or 0
        stand_in.answers = [(404, {"errors": []})]
        with pytest.raises(SecretNotFound):
            await store.read(TENANT, PATH)
        stand_in.answers = [(200, secret())]
        assert (await store.read(TENANT, PATH)).version == 1
        await store.close()


class TestHealth:
    @pytest.mark.parametrize("status", [200, 429, 473])
    async def test_a_node_that_serves(self, stand_in: Any, store: HashicorpStore, status: int) -> None:
        stand_in.answers = [(status, {"sealed": False}), (200, {"data": {"ttl": 0, "renewable": False}})]
        await store.check()
        assert [asked.path for asked in stand_in.asked] == ["/v1/sys/health", "/v1/auth/token/lookup-self"]

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            (472, "disaster-recovery"),
            (474, "no node is active"),
            (501, "not initialised"),
            (503, "sealed"),
            (530, "removed"),
            (418, "418"),
            (302, "302"),
        ],
    )
    async def test_a_node_that_does_not(self, stand_in: Any, store: HashicorpStore, status: int, words: str) -> None:
        stand_in.answers = [(status, {"sealed": True})]
        with pytest.raises(VaultUnavailable, match=words):
            await store.check()
        assert [asked.path for asked in stand_in.asked] == ["/v1/sys/health"]

    async def test_a_check_closes_an_open_breaker(self, stand_in: Any, store: HashicorpStore) -> None:
        stand_in.answers = [(503, {"errors": ["Vault is sealed"]})]
        for _ in range(5):
            with pytest.raises(VaultUnavailable):
                await store.read(TENANT, PATH)
        stand_in.answers = [(200, {"sealed": False}), (200, {"data": {"ttl": 0}}), (200, secret())]
        await store.check()
        assert (await store.read(TENANT, PATH)).version == 1


class TestHostile:
    @pytest.mark.parametrize("content", [b"", b"<html>hello</html>", b"[]", b"{}", b'{"data":null}', b'{"data":[]}'])
    async def test_what_is_no_vault_answers_no_secret(
        self, stand_in: Any, store: HashicorpStore, content: bytes
    ) -> None:
        stand_in.answers = [(200, content)]
        for call in (store.read(TENANT, PATH), store.write(TENANT, PATH, {"k": "v"}, cas=0), store.list(TENANT, "a")):
            with pytest.raises(Exception, match="something else than a secret") as caught:
                await call
            assert type(caught.value).__name__ == "SecretDamaged"

    async def test_a_login_at_something_else_is_unavailable(self, stand_in: Any) -> None:
        client = VaultClient(stand_in.address, token=None, role_id="r", secret_id="canary-secret-id")
        store = HashicorpStore(client, mount="secret")
        stand_in.answers = [(200, {"auth": {"client_token": 5}})]
        with pytest.raises(VaultUnavailable, match="not a Vault") as caught:
            await store.read(TENANT, PATH)
        assert "canary" not in repr(caught.value) + repr(client) + repr(store)
        await store.close()

    @pytest.fixture
    def proxied(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password else\n")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("VAULT_TOKEN", "of-the-environment")

    async def test_the_environment_does_not_change_where_and_as_whom_we_ask(self, stand_in: Any, proxied: None) -> None:
        client = VaultClient(stand_in.address, token=None, role_id="r", secret_id="s")
        store = HashicorpStore(client, mount="secret")
        login = {"auth": {"client_token": TOKEN, "lease_duration": 60, "renewable": True}}
        stand_in.answers = [(200, login), (200, secret())]
        await store.read(TENANT, PATH)
        first, second = stand_in.asked
        assert first.path == "/v1/auth/approle/login"
        assert "X-Vault-Token" not in first.headers
        assert second.headers["X-Vault-Token"] == TOKEN
        assert "Authorization" not in second.headers
        await store.close()


def test_the_times_are_those_of_the_guide() -> None:
    assert (client_module.CONNECT_SECONDS, client_module.TOTAL_SECONDS, THREADS) == (1.0, 3.0, 8)
