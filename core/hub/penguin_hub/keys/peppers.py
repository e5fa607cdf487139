"""The secrets under which keys are hashed for look-up. They lie in the secret store, under the hub's own tenant.

A new pepper is announced before it is used: every process reads the peppers again within REFRESH_SECONDS, and a pepper
makes hashes only from its `active_from` on, LEAD_SECONDS after it was written. So no process meets a hash it cannot
make. Old peppers stay for reading; a key's hash moves to the newest when bcrypt next sees the key itself.
"""

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from penguin_hub.platform import clock
from penguin_hub.platform.errors import HubError
from penguin_hub.vault.errors import CasConflict, SecretNotFound
from penguin_hub.vault.paths import SYSTEM
from penguin_hub.vault.service import Secret, SecretStore

PATH: Final = "peppers/api_keys"
REFRESH_SECONDS: Final = 20.0
LEAD_SECONDS: Final = 60


class Pepper(msgspec.Struct, frozen=True):
    id: str
    value: bytes
    active_from: datetime

    def digest(self, text: str) -> bytes:
        """HMAC-SHA256 of `text`: 32 bytes."""
        return hmac.digest(self.value, text.encode(), hashlib.sha256)

    def __repr__(self) -> str:
        return f"Pepper(id={self.id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("id", self.id)]


class Peppers:
    """The peppers as this process knows them, newest first."""

    def __init__(self, store: SecretStore, *, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._known: tuple[Pepper, ...] = ()
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    async def all(self) -> tuple[Pepper, ...]:
        """Newest first. Raises Unavailable while none was ever read; later an outage only delays the next reading."""
        if self._now() - self._read_at < REFRESH_SECONDS:
            return self._known
        async with self._lock:
            if self._now() - self._read_at >= REFRESH_SECONDS:
                try:
                    self._known = await self._read()
                    self._read_at = self._now()
                except HubError:
                    if not self._known:
                        raise
                    self._read_at = self._now() - REFRESH_SECONDS + 1
        return self._known

    async def current(self) -> Pepper:
        """The one that new hashes are made with."""
        known = await self.all()
        moment = clock.now()
        return next((pepper for pepper in known if pepper.active_from <= moment), known[-1])

    async def rotate(self) -> str:
        """Write a new pepper; its id. It is used from LEAD_SECONDS from now. Raises CasConflict, Unavailable."""
        secret = await self._store.read(SYSTEM, PATH)
        pepper_id = f"p{len(secret.fields) + 1}"
        fields = {**secret.fields, pepper_id: _new(clock.now() + timedelta(seconds=LEAD_SECONDS))}
        await self._store.write(SYSTEM, PATH, fields, cas=secret.version)
        self._read_at = float("-inf")
        return pepper_id

    async def _read(self) -> tuple[Pepper, ...]:
        try:
            secret = await self._store.read(SYSTEM, PATH)
        except SecretNotFound:
            secret = await self._create()
        found = [_pepper(name, text) for name, text in secret.fields.items()]
        return tuple(sorted(found, key=lambda pepper: pepper.active_from, reverse=True))

    async def _create(self) -> Secret:
        # Where another process was first, its pepper is the pepper.
        with contextlib.suppress(CasConflict):
            await self._store.write(SYSTEM, PATH, {"p1": _new(clock.now())}, cas=0)
        return await self._store.read(SYSTEM, PATH)


def _new(active_from: datetime) -> str:
    return f"{active_from.isoformat()} {secrets.token_hex(32)}"


def _pepper(name: str, text: str) -> Pepper:
    moment, _, value = text.partition(" ")
    return Pepper(name, bytes.fromhex(value), datetime.fromisoformat(moment))
