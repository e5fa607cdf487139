"""Peppers: made once, announced before they are used, and never lost to an outage."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from penguin_hub.keys.peppers import LEAD_SECONDS, REFRESH_SECONDS, Peppers
from penguin_hub.platform import clock
from penguin_hub.vault.errors import CasConflict, SecretNotFound, VaultUnavailable
from penguin_hub.vault.service import Secret


class Store:
    """One secret, with check-and-set."""

    def __init__(self) -> None:
        self.secret: Secret | None = None
        self.away = False
        self.reads = 0

    async def read(self, tenant: str, path: str, *, version: int | None = None) -> Secret:
        assert (tenant, path) == ("system", "peppers/api_keys")
        self.reads += 1
        await asyncio.sleep(0)
        if self.away:
            raise VaultUnavailable("sealed")
        if self.secret is None:
            raise SecretNotFound("no such secret")
        return self.secret

    async def write(self, tenant: str, path: str, fields: Mapping[str, str], *, cas: int | None) -> int:
        await asyncio.sleep(0)
        version = self.secret.version if self.secret else 0
        if cas != version:
            raise CasConflict("somebody else was first")
        self.secret = Secret(dict(fields), version + 1, datetime.now(UTC))
        return version + 1


async def test_two_processes_that_start_together_agree() -> None:
    store: Any = Store()
    first, second = await asyncio.gather(*(Peppers(store).current() for _ in range(2)))
    assert first == second
    assert first.digest("x") == second.digest("x")
    assert first.value.hex() not in repr(first)


async def test_a_new_pepper_is_known_to_all_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = Store()
    ahead = 0.0
    one, other = (Peppers(store, now=lambda: ahead) for _ in range(2))
    assert (await one.current()).id == (await other.current()).id == "p1"
    assert await one.rotate() == "p2"
    assert (await one.current()).id == "p1"
    ahead += REFRESH_SECONDS
    assert [pepper.id for pepper in await other.all()] == ["p2", "p1"]
    assert REFRESH_SECONDS < LEAD_SECONDS
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(seconds=LEAD_SECONDS + 1))
    assert (await one.current()).id == (await other.current()).id == "p2"


async def test_an_outage_only_delays_the_next_reading() -> None:
    store: Any = Store()
    ahead = 0.0
    peppers = Peppers(store, now=lambda: ahead)
    store.away = True
    with pytest.raises(VaultUnavailable):
        await peppers.all()
    store.away = False
    known = await peppers.all()
    store.away = True
    ahead += REFRESH_SECONDS
    reads = store.reads
    for _ in range(100):
        assert await peppers.all() == known
    assert store.reads == reads + 1, "an outage is not asked for at every request"


async def test_two_rotations_at_once_are_one() -> None:
    store: Any = Store()
    one, other = Peppers(store), Peppers(store)
    await one.all()
    await other.all()
    results = await asyncio.gather(one.rotate(), other.rotate(), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["CasConflict", "str"]
