"""Secrets in our own PostgreSQL, encrypted: the store that works without a Vault, by the same rules."""

import builtins
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from penguin_hub.platform.db import Connection, Database
from penguin_hub.vault import rotation, store
from penguin_hub.vault.coalesce import Coalesced
from penguin_hub.vault.envelope import Sealed
from penguin_hub.vault.errors import CasConflict, SecretDamaged, SecretNotFound
from penguin_hub.vault.keyring import KeyRing
from penguin_hub.vault.paths import SYSTEM, checked
from penguin_hub.vault.rotation import Progress
from penguin_hub.vault.service import MAX_VERSIONS, Secret, SecretVersion, encoded


class EmbeddedStore:
    """A SecretStore over the tables of `vault.tables` and the key file."""

    def __init__(self, database: Database, key_file: Path) -> None:
        self._database = database
        self._keys = KeyRing(key_file)
        self._reads: Coalesced[tuple[str, str, int | None], Secret] = Coalesced()

    def __repr__(self) -> str:
        return "EmbeddedStore()"

    async def open(self) -> None:
        """Raises KeyFileRefused (the hub must not start) and DatabaseUnavailable."""
        async with self._database.system() as connection:
            await self._keys.open(connection)

    async def close(self) -> None:
        await self._reads.close()

    async def read(self, tenant: str, path: str, *, version: int | None = None) -> Secret:
        key = (tenant, checked(tenant, path), version)
        secret = await self._reads.get(key, lambda: self._read(*key))
        return msgspec.structs.replace(secret, fields=dict(secret.fields))

    async def write(self, tenant: str, path: str, fields: Mapping[str, str], *, cas: int | None) -> int:
        plaintext = encoded(fields)
        checked(tenant, path)
        try:
            async with self._transaction(tenant) as connection:
                await store.lock(connection, tenant, path)
                head = await store.head(connection, tenant, path)
                current = head["current_version"] if head else 0
                if cas is not None and cas != current:
                    raise CasConflict("The secret was changed by somebody else.")
                if head:
                    # What was rolled back is not to be continued as if it were whole.
                    key = await self._keys.key(connection, tenant, head["key_id"])
                    key.open_head(path, current, Sealed(head["nonce"], head["seal"]))
                version = current + 1
                key = await self._keys.active_key(connection, tenant, messages=2)
                await store.put_head(
                    connection, tenant, path, version, key_id=key.id, seal=key.seal_head(path, version)
                )
                await store.add_version(
                    connection, tenant, path, version, key_id=key.id, sealed=key.seal(path, version, plaintext)
                )
                if version > MAX_VERSIONS:
                    await store.drop_versions(connection, tenant, path, version - MAX_VERSIONS)
        finally:
            self._forget(tenant, path)
        return version

    async def delete(self, tenant: str, path: str) -> None:
        async with self._changing(tenant, path) as connection:
            await store.delete_latest(connection, tenant, path)
        self._forget(tenant, path)

    async def destroy(self, tenant: str, path: str, versions: Sequence[int]) -> None:
        async with self._changing(tenant, path) as connection:
            await store.destroy(connection, tenant, path, versions)
        self._forget(tenant, path)

    async def erase(self, tenant: str, path: str) -> None:
        async with self._changing(tenant, path) as connection:
            await store.erase(connection, tenant, path)
        self._forget(tenant, path)

    async def list(self, tenant: str, prefix: str) -> list[str]:
        checked(tenant, prefix)
        async with self._transaction(tenant) as connection:
            return await store.names(connection, tenant, prefix)

    async def versions(self, tenant: str, path: str) -> builtins.list[SecretVersion]:
        checked(tenant, path)
        async with self._transaction(tenant) as connection:
            rows = await store.versions(connection, tenant, path)
        if not rows:
            raise SecretNotFound("There is no such secret.")
        return [SecretVersion(row["version"], row["created_at"], row["deleted_at"], row["destroyed"]) for row in rows]

    async def check(self) -> None:
        async with self._database.system() as connection:
            await self._keys.check(connection)

    async def rotate_kek(self) -> int:
        """See `rotation.rotate_kek`."""
        return await rotation.rotate_kek(self._database, self._keys)

    async def prepare_kek(self) -> str:
        """See `rotation.prepare_kek`."""
        return await rotation.prepare_kek(self._database, self._keys)

    async def drop_unused_keks(self) -> builtins.list[str]:
        """See `rotation.drop_unused_keks`."""
        return await rotation.drop_unused_keks(self._database, self._keys)

    def rotate_dek(self, tenant: str) -> AsyncIterator[Progress]:
        """See `rotation.rotate_dek`."""
        return rotation.rotate_dek(lambda: self._transaction(tenant), self._keys, tenant)

    async def _read(self, tenant: str, path: str, version: int | None) -> Secret:
        async with self._transaction(tenant) as connection:
            row = await store.read(connection, tenant, path, version)
            if row is None:
                raise SecretNotFound("There is no such secret.")
            head_key = await self._keys.key(connection, tenant, row["head_key_id"])
            head_key.open_head(path, row["current_version"], Sealed(row["head_nonce"], row["seal"]))
            if row["version"] is None and version is None:
                raise SecretDamaged("The latest version of a stored secret is gone.")
            if row["ciphertext"] is None or row["deleted_at"] is not None:
                raise SecretNotFound("There is no such secret.")
            key = await self._keys.key(connection, tenant, row["key_id"])
        plaintext = key.open(path, row["version"], Sealed(row["nonce"], row["ciphertext"]))
        return Secret(msgspec.json.decode(plaintext, type=dict[str, str]), row["version"], row["created_at"])

    def _transaction(self, tenant: str) -> AbstractAsyncContextManager[Connection]:
        return self._database.system() if tenant == SYSTEM else self._database.tenant(tenant)

    def _changing(self, tenant: str, path: str) -> AbstractAsyncContextManager[Connection]:
        checked(tenant, path)
        return self._transaction(tenant)

    def _forget(self, tenant: str, path: str) -> None:
        self._reads.forget(lambda key: key[:2] == (tenant, path))
