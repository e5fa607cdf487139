"""Secrets in HashiCorp Vault or OpenBao: KV version 2 with check-and-set."""

import asyncio
import builtins
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import anyio.to_thread
import msgspec
import structlog
from anyio import CapacityLimiter

from penguin_hub.platform.errors import HubError
from penguin_hub.vault.client import THREADS, TOTAL_SECONDS, Refused, VaultClient
from penguin_hub.vault.coalesce import Coalesced
from penguin_hub.vault.errors import CasConflict, SecretDamaged, SecretNotFound, VaultForbidden
from penguin_hub.vault.paths import located
from penguin_hub.vault.service import Secret, SecretVersion, encoded

log = structlog.get_logger(__name__)

Parsed = TypeVar("Parsed", bound=msgspec.Struct)

RETRY_SECONDS: Final = 5.0
SHORTEST_SLEEP_SECONDS: Final = 0.5
LONGEST_SLEEP_SECONDS: Final = 60.0
"""A token that was replaced in the meantime may be due earlier than the one this pause was computed for."""


class HashicorpStore:
    """A SecretStore. Calls run in at most THREADS threads of their own, never on the event loop."""

    def __init__(self, client: VaultClient, *, mount: str) -> None:
        self._client = client
        self._mount = mount
        self._limiter = CapacityLimiter(THREADS)
        self._reads: Coalesced[tuple[str, int | None], Secret] = Coalesced()
        self._keeper: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return "HashicorpStore()"

    async def open(self) -> None:
        """Starts to look after the token. A Vault that is away or refuses us does not stop the start: see `check`."""
        self._keeper = asyncio.create_task(self._keep_token())

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        await self._reads.close()
        self._client.close()

    async def read(self, tenant: str, path: str, *, version: int | None = None) -> Secret:
        place = located(tenant, path)
        secret = await self._reads.get((place, version), lambda: self._read(place, version))
        return msgspec.structs.replace(secret, fields=dict(secret.fields))

    async def write(self, tenant: str, path: str, fields: Mapping[str, str], *, cas: int | None) -> int:
        place = located(tenant, path)
        values = msgspec.json.decode(encoded(fields), type=dict[str, str])
        try:
            answer = await self._call(
                lambda kv: kv.create_or_update_secret(place, values, cas=cas, mount_point=self._mount),
                retry=cas is not None,
            )
        except Refused as error:
            if error.status != 400 or not error.says("did not match"):
                raise _misused(error) from None
            if error.attempt > 1 and cas is not None and await self._is_ours(place, values, cas + 1):
                return cas + 1
            raise CasConflict("The secret was changed by somebody else.") from None
        finally:
            self._reads.forget(lambda key: key[0] == place)
        return _parsed(answer, _Written).data.version

    async def delete(self, tenant: str, path: str) -> None:
        place = located(tenant, path)
        await self._change(place, lambda kv: kv.delete_latest_version_of_secret(place, mount_point=self._mount))

    async def destroy(self, tenant: str, path: str, versions: Sequence[int]) -> None:
        place = located(tenant, path)
        wanted = [*versions]
        if wanted:
            await self._change(place, lambda kv: kv.destroy_secret_versions(place, wanted, mount_point=self._mount))

    async def erase(self, tenant: str, path: str) -> None:
        place = located(tenant, path)
        await self._change(place, lambda kv: kv.delete_metadata_and_all_versions(place, mount_point=self._mount))

    async def list(self, tenant: str, prefix: str) -> list[str]:
        place = located(tenant, prefix)
        try:
            answer = await self._call(lambda kv: kv.list_secrets(place, mount_point=self._mount))
        except Refused as error:
            if error.status == 404:
                return []
            raise _misused(error) from None
        return sorted(_parsed(answer, _Listed).data.keys)

    async def versions(self, tenant: str, path: str) -> builtins.list[SecretVersion]:
        place = located(tenant, path)
        try:
            answer = await self._call(lambda kv: kv.read_secret_metadata(place, mount_point=self._mount))
        except Refused as error:
            if error.status == 404:
                raise SecretNotFound("There is no such secret.") from None
            raise _misused(error) from None
        known = _parsed(answer, _History).data.versions
        return [
            SecretVersion(int(number), entry.created_time, entry.deleted_at, entry.destroyed)
            for number, entry in sorted(known.items(), key=lambda item: int(item[0]))
        ]

    async def check(self) -> None:
        deadline = time.monotonic() + TOTAL_SECONDS
        await self._thread(lambda: self._client.check(deadline))

    async def _read(self, place: str, version: int | None) -> Secret:
        try:
            answer = await self._call(
                lambda kv: kv.read_secret_version(
                    place, version=version, mount_point=self._mount, raise_on_deleted_version=True
                )
            )
        except Refused as error:
            if error.status == 404:
                raise SecretNotFound("There is no such secret.") from None
            raise _misused(error) from None
        data = _parsed(answer, _Read).data
        return Secret(data.data, data.metadata.version, data.metadata.created_time)

    async def _is_ours(self, place: str, values: dict[str, str], version: int) -> bool:
        """Whether our own write took effect before its answer was lost."""
        try:
            found = await self._read(place, None)
        except SecretNotFound:
            return False
        return found.version == version and found.fields == values

    async def _change(self, place: str, operation: Callable[[Any], Any]) -> None:
        try:
            await self._call(operation)
        except Refused as error:
            if error.status != 404:
                raise _misused(error) from None
        finally:
            self._reads.forget(lambda key: key[0] == place)

    async def _call(self, operation: Callable[[Any], Any], *, retry: bool = True) -> Any:
        deadline = time.monotonic() + TOTAL_SECONDS
        return await self._thread(
            lambda: self._client.call(lambda client: operation(client.secrets.kv.v2), retry=retry, deadline=deadline)
        )

    async def _thread(self, work: Callable[[], Any]) -> Any:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    async def _keep_token(self) -> None:
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            due = self._client.seconds_to_renewal()
            if due is None or due > 0:
                pause = LONGEST_SLEEP_SECONDS if due is None else min(due, LONGEST_SLEEP_SECONDS)
                continue
            deadline = time.monotonic() + TOTAL_SECONDS
            try:
                await self._thread(lambda: self._client.keep_token(deadline))  # noqa: B023 -- awaited within this turn
            except HubError as error:
                log.warning("vault_token_not_renewed", reason=error.detail)
                pause = max(RETRY_SECONDS, error.retry_after or 0) * random.uniform(0.8, 1.2)  # noqa: S311 -- jitter
            else:
                pause = SHORTEST_SLEEP_SECONDS


def _misused(error: Refused) -> HubError:
    """An answer that says our set-up is wrong. Vault's own words are kept out: they name paths and policies."""
    if error.status in (401, 403):
        return VaultForbidden("The secret store's policy does not allow the hub this.")
    return VaultForbidden(f"The secret store answers {error.status}: is VAULT_MOUNT a KV version 2 mount?")


def _parsed(answer: Any, kind: type[Parsed]) -> Parsed:
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError:
        raise SecretDamaged("The secret store holds something else than a secret of the hub at this place.") from None


class _Metadata(msgspec.Struct):
    version: int
    created_time: datetime


class _Versioned(msgspec.Struct):
    data: dict[str, str]
    metadata: _Metadata


class _Read(msgspec.Struct):
    data: _Versioned


class _Number(msgspec.Struct):
    version: int


class _Written(msgspec.Struct):
    data: _Number


class _Keys(msgspec.Struct):
    keys: list[str]


class _Listed(msgspec.Struct):
    data: _Keys


class _Entry(msgspec.Struct):
    created_time: datetime
    deletion_time: str
    destroyed: bool

    @property
    def deleted_at(self) -> datetime | None:
        return msgspec.convert(self.deletion_time, datetime, strict=False) if self.deletion_time else None


class _Entries(msgspec.Struct):
    versions: dict[str, _Entry]


class _History(msgspec.Struct):
    data: _Entries
