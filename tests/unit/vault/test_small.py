"""Breaker, coalescing, the token's clock, and references that need no Vault."""

import asyncio

import pytest
from penguin_hub.platform.errors import SettingsError
from penguin_hub.vault import references
from penguin_hub.vault.breaker import FAILURES, LONGEST_SECONDS, Breaker
from penguin_hub.vault.coalesce import Coalesced
from penguin_hub.vault.token import LOCKOUT_SECONDS, Grant, Token


class TestBreaker:
    def test_it_opens_after_failures_in_a_row_only(self) -> None:
        breaker = Breaker(lambda: 0.0)
        for _ in range(FAILURES - 1):
            breaker.failed()
        assert breaker.wait() == 0
        breaker.succeeded()
        for _ in range(FAILURES - 1):
            breaker.failed()
        assert breaker.wait() == 0
        breaker.failed()
        assert breaker.wait() > 0

    def test_one_probes_for_all_and_pauses_grow_to_a_limit(self) -> None:
        clock = [0.0]
        breaker = Breaker(lambda: clock[0])
        pauses = []
        for _ in range(FAILURES):
            breaker.failed()
        for _ in range(12):
            pauses.append(breaker.wait())
            clock[0] += pauses[-1]
            assert breaker.wait() == 0  # the probe
            assert breaker.wait() > 0  # everybody else
            breaker.failed()
        assert pauses[0] < 1
        assert max(pauses) <= LONGEST_SECONDS * 1.2
        assert pauses[-1] > LONGEST_SECONDS * 0.7
        clock[0] += breaker.wait()
        breaker.wait()
        breaker.succeeded()
        assert breaker.wait() == breaker.wait() == 0


class TestCoalesced:
    async def test_an_error_reaches_all_who_asked_and_is_not_kept(self) -> None:
        calls = 0

        async def fail() -> str:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0)
            raise ValueError("no")

        shared: Coalesced[str, str] = Coalesced()
        outcomes = await asyncio.gather(*(shared.get("a", fail) for _ in range(5)), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["no"] * 5
        assert calls == 1
        with pytest.raises(ValueError, match="no"):
            await shared.get("a", fail)
        assert calls == 2

    async def test_what_was_forgotten_is_asked_anew_and_its_end_disturbs_nobody(self) -> None:
        gates = [asyncio.Event(), asyncio.Event()]
        started = 0

        async def answer() -> int:
            nonlocal started
            mine, started = started, started + 1
            await gates[mine].wait()
            return mine

        shared: Coalesced[str, int] = Coalesced()
        first = asyncio.create_task(shared.get("a", answer))
        await asyncio.sleep(0)
        shared.forget(lambda key: key == "b")
        joined = asyncio.create_task(shared.get("a", answer))
        await asyncio.sleep(0)
        assert started == 1
        shared.forget(lambda key: key == "a")
        second = asyncio.create_task(shared.get("a", answer))
        await asyncio.sleep(0)
        gates[0].set()
        assert (await first, await joined) == (0, 0)
        third = asyncio.create_task(shared.get("a", answer))
        await asyncio.sleep(0)
        gates[1].set()
        assert (await second, await third) == (1, 1)

    async def test_an_answer_that_is_there_is_not_given_to_later_askers(self) -> None:
        """Also before the callback of its end has run: a reader in a loop would never give way to that callback."""

        async def at_once() -> object:
            return object()

        shared: Coalesced[str, object] = Coalesced()
        first = asyncio.create_task(shared.get("a", at_once))
        await asyncio.sleep(0)  # `first` has started the call.
        await asyncio.sleep(0)  # The call has ended just now.
        assert await shared.get("a", at_once) is not await first


class TestToken:
    def test_it_is_renewed_at_two_thirds_with_jitter(self) -> None:
        moments = set()
        for _ in range(20):
            token = Token()
            assert token.seconds_to_renewal() == 0
            token.granted(Grant("t", 900, True))
            moments.add(round(token.seconds_to_renewal() or 0))
        assert min(moments) >= 539
        assert max(moments) <= 600
        assert len(moments) > 1

    def test_its_maximum_life_shows_in_ever_shorter_renewals(self) -> None:
        token = Token()
        token.granted(Grant("t", 900, True))
        assert not token.ends_soon(Grant("t", 900, True))
        assert not token.ends_soon(Grant("t", 500, True))
        assert token.ends_soon(Grant("t", 400, True))
        token.granted(Grant("t", 500, True), renewed=True)
        assert token.ends_soon(Grant("t", 400, True))
        token.granted(Grant("t2", 100, True))
        assert not token.ends_soon(Grant("t2", 90, True))

    def test_refused_logins_wait_longer_and_longer(self) -> None:
        token = Token()
        assert token.login_wait() == 0
        waits = []
        for _ in range(12):
            token.login_refused()
            waits.append(token.login_wait())
        assert 14 < waits[0] < 19
        assert LOCKOUT_SECONDS * 0.99 < waits[-1] < LOCKOUT_SECONDS * 1.2
        token.granted(Grant("t", 1, False))
        assert token.login_wait() == 0

    def test_it_is_in_no_repr(self) -> None:
        assert "canary" not in repr(Grant("canary", 1, True))


class TestReferences:
    def test_k1_an_environment_without_references_asks_nobody(self) -> None:
        environ = {"VAULT_ADDR": "http://127.0.0.1:9", "A": "vaults:x", "B": " vault:x", "C": ""}
        assert references.resolve(environ) == environ

    @pytest.mark.parametrize(
        ("environ", "sentence"),
        [
            ({"KEY": "vault:secret/a"}, "KEY is a reference into a Vault: set VAULT_ADDR"),
            ({"VAULT_TOKEN": "vault:secret/a", "VAULT_ADDR": "http://127.0.0.1:9"}, "VAULT_TOKEN tells how to reach"),
            ({"KEY": "vault:", "VAULT_ADDR": "http://127.0.0.1:9"}, "KEY: '' is not a path"),
            ({"KEY": "vault:secret", "VAULT_ADDR": "http://127.0.0.1:9"}, "KEY: 'secret' is not a path"),
            ({"KEY": "vault:secret/../sys", "VAULT_ADDR": "http://127.0.0.1:9"}, "KEY: 'secret/../sys' is not a path"),
            ({"KEY": "vault:/secret/a", "VAULT_ADDR": "http://127.0.0.1:9"}, "KEY: '/secret/a' is not a path"),
            (
                {"KEY": "vault:s/a", "VAULT_ADDR": "http://127.0.0.1:9"},
                "KEY: s/a cannot be read. The secret store cannot",
            ),
        ],
    )
    def test_k1_what_cannot_be_resolved_is_a_sentence(self, environ: dict[str, str], sentence: str) -> None:
        with pytest.raises(SettingsError) as caught:
            references.resolve(environ)
        assert str(caught.value).startswith(sentence)
