"""Changing the embedded store's keys while it is in use. Whatever stops a rotation, calling it again continues it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec
import structlog

from penguin_hub.platform.db import Connection, Database
from penguin_hub.vault import keyfile, store
from penguin_hub.vault.envelope import Sealed
from penguin_hub.vault.keyring import KeyRing

log = structlog.get_logger(__name__)

BATCH: Final = 200


class Progress(msgspec.Struct, frozen=True):
    """Of a re-encryption: rows done and rows in all, as counted at its start."""

    done: int
    total: int


async def prepare_kek(database: Database, keys: KeyRing) -> str:
    """Add a key-encryption key to the file without using it, and return its id.

    With several nodes: prepare on one, copy the file to the others, then `rotate_kek`.
    """
    async with database.system() as connection:
        await store.lock_keks(connection)
        keys.reload()
        made = keyfile.new_kek()
        keyfile.replace(keys.path, (*keys.keks, made))
        keys.reload()
    return made.id


async def rotate_kek(database: Database, keys: KeyRing) -> int:
    """Wrap every data key by another key-encryption key: the prepared one, or a new one. Returns how many it wrapped.

    While data keys are left over from an interrupted rotation, or from a file whose order an operator changed, only
    those are wrapped again, by the active key. The old key stays in the file: backups made until now need it.
    """
    async with database.system() as connection:
        await store.lock_keks(connection)
        keys.reload()
        in_use = {row["kek_id"] for row in await store.keks_in_use(connection)}
        if in_use <= {keys.active.id}:
            newest = max(keys.keks, key=lambda kek: kek.created_at)
            chosen = keyfile.new_kek() if newest.id == keys.active.id else newest
            keyfile.replace(keys.path, (chosen, *(kek for kek in keys.keks if kek.id != chosen.id)))
            keys.reload()
    wrapped = 0
    while True:
        async with database.system() as connection:
            rows = await store.take_wrapped_by_others(connection, keys.active.id, BATCH)
            for row in rows:
                await store.rewrap(
                    connection, row["tenant_id"], row["id"], kek_id=keys.active.id, wrapped=keys.rewrapped(row)
                )
        wrapped += len(rows)
        if len(rows) < BATCH:
            log.info("kek_rotated", kek=keys.active.id, data_keys=wrapped)
            return wrapped


async def drop_unused_keks(database: Database, keys: KeyRing) -> list[str]:
    """Remove from the file the older keys that wrap nothing any longer, and return their ids.

    Backups of the database that were made under them can then be opened only with a kept copy of the old file.
    """
    async with database.system() as connection:
        await store.lock_keks(connection)
        keys.reload()
        in_use = {row["kek_id"] for row in await store.keks_in_use(connection)}
        kept = tuple(
            kek
            for kek in keys.keks
            if kek.id == keys.active.id or kek.id in in_use or kek.created_at > keys.active.created_at
        )
        dropped = [kek.id for kek in keys.keks if kek not in kept]
        if dropped:
            keyfile.replace(keys.path, kept)
            keys.reload()
    return dropped


async def rotate_dek(
    transaction: Callable[[], AbstractAsyncContextManager[Connection]], keys: KeyRing, tenant: str
) -> AsyncIterator[Progress]:
    """Give a tenant a new data key and re-encrypt its secrets in batches, yielding after each.

    Reads and writes go on throughout. If rows are left over from an interrupted run, those are finished instead.
    """
    async with transaction() as connection:
        total = await store.sealed_by_others(connection, tenant)
        if not total:
            await keys.replace_active(connection, tenant)
            total = await store.sealed_by_others(connection, tenant)
    done = 0
    yield Progress(done, total)
    for reseal in (_reseal_versions, _reseal_heads):
        while True:
            async with transaction() as connection:
                count = await reseal(connection, keys, tenant)
            if not count:
                break
            done += count
            yield Progress(min(done, total), total)
    async with transaction() as connection:
        await store.drop_unused_keys(connection, tenant)


async def _reseal_versions(connection: Connection, keys: KeyRing, tenant: str) -> int:
    # The active key's row is taken first, here and in a write, so that the two cannot wait for each other.
    new = await keys.active_key(connection, tenant, messages=BATCH)
    rows = await store.take_old_versions(connection, tenant, BATCH)
    for row in rows:
        old = await keys.key(connection, tenant, row["key_id"])
        plaintext = old.open(row["path"], row["version"], Sealed(row["nonce"], row["ciphertext"]))
        sealed = new.seal(row["path"], row["version"], plaintext)
        await store.reseal_version(connection, tenant, row["path"], row["version"], key_id=new.id, sealed=sealed)
    return len(rows)


async def _reseal_heads(connection: Connection, keys: KeyRing, tenant: str) -> int:
    new = await keys.active_key(connection, tenant, messages=BATCH)
    rows = await store.take_old_heads(connection, tenant, BATCH)
    for row in rows:
        old = await keys.key(connection, tenant, row["key_id"])
        old.open_head(row["path"], row["current_version"], Sealed(row["nonce"], row["seal"]))
        seal = new.seal_head(row["path"], row["current_version"])
        await store.put_head(connection, tenant, row["path"], row["current_version"], key_id=new.id, seal=seal)
    return len(rows)
