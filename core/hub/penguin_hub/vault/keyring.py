"""The keys of one process: the key file as last read, and the data keys that were unwrapped with it."""

from collections import OrderedDict
from pathlib import Path
from typing import Final

import structlog

from penguin_hub.platform.db import Connection, Record
from penguin_hub.vault import keyfile, store
from penguin_hub.vault.envelope import ROTATE_AT, DataKey, Sealed
from penguin_hub.vault.errors import KeyFileRefused, SecretDamaged, VaultUnavailable
from penguin_hub.vault.keyfile import Kek
from penguin_hub.vault.paths import SYSTEM

log = structlog.get_logger(__name__)

CACHED_DATA_KEYS: Final = 2048
ATTEMPTS: Final = 5


class KeyRing:
    """Data keys are remembered unwrapped: rewrapping does not change them, and their ids are never used again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keks: tuple[Kek, ...] = ()
        self._data_keys: OrderedDict[tuple[str, str], DataKey] = OrderedDict()

    def __repr__(self) -> str:
        return f"KeyRing({self.path})"

    @property
    def active(self) -> Kek:
        return self.keks[0]

    async def open(self, connection: Connection) -> None:
        """Read the key file, or make it if the database knows of none; then prove that it fits the database.

        `connection` is one of the relay role. Raises KeyFileRefused.
        """
        await store.lock_keks(connection)
        in_use = await store.keks_in_use(connection)
        try:
            self.reload()
        except FileNotFoundError:
            if in_use:
                raise KeyFileRefused(
                    f"The key file {self.path} is missing, and the database holds secrets sealed under "
                    f"{', '.join(row['kek_id'] for row in in_use)}: put back the copy you keep of the file."
                ) from None
            self._create()
        for row in in_use:
            self._prove(row)
        if not in_use:
            await self._add_active(connection, SYSTEM)

    async def check(self, connection: Connection) -> None:
        """Whether the hub's own data key still opens. Raises SecretDamaged."""
        row = await store.active_key(connection, SYSTEM)
        if row is None:
            raise SecretDamaged("The secret store's own key is gone from the database.")
        self.rewrapped(row)

    def reload(self) -> None:
        """Read the file again. Raises FileNotFoundError, KeyFileRefused."""
        self.keks = keyfile.read(self.path)

    async def active_key(self, connection: Connection, tenant: str, messages: int) -> DataKey:
        """The key that seals `messages` messages in this transaction. A first key is made, and one for a worn key."""
        for _ in range(ATTEMPTS):
            row = await store.use_active_key(connection, tenant, messages)
            if row is not None and row["messages"] < ROTATE_AT:
                return self._unwrapped(tenant, row)
            if row is not None:
                await store.retire_active_key(connection, tenant)
            # No row: the tenant has no key yet, or a rotation retired the one this statement waited for.
            await self._add_active(connection, tenant)
        raise VaultUnavailable("The secret was not stored: the tenant's keys are being changed.", retry_after=1)

    async def replace_active(self, connection: Connection, tenant: str) -> None:
        """From now on the tenant's secrets are sealed by a new key; the old ones still open."""
        await store.retire_active_key(connection, tenant)
        await self._add_active(connection, tenant)

    async def key(self, connection: Connection, tenant: str, key_id: str) -> DataKey:
        """Raises SecretDamaged."""
        known = self._data_keys.get((tenant, key_id))
        if known is not None:
            self._data_keys.move_to_end((tenant, key_id))
            return known
        row = await store.key(connection, tenant, key_id)
        if row is None:
            raise SecretDamaged("A stored secret does not decrypt: its data key is gone.")
        return self._unwrapped(tenant, row)

    def rewrapped(self, row: Record) -> Sealed:
        """A stored data key, wrapped by the active key-encryption key. Raises SecretDamaged."""
        return DataKey.unwrapped(
            row["tenant_id"], row["id"], self._kek(row["kek_id"]), Sealed(row["nonce"], row["wrapped"])
        ).wrapped(self.active)

    async def _add_active(self, connection: Connection, tenant: str) -> None:
        # Another process may have changed the file; and nobody may change it before this key is committed.
        await store.share_keks(connection)
        self._reload_running()
        made = DataKey.new(tenant)
        await store.add_active_key(
            connection, tenant, made.id, kek_id=self.active.id, wrapped=made.wrapped(self.active)
        )

    def _unwrapped(self, tenant: str, row: Record) -> DataKey:
        known = self._data_keys.get((tenant, row["id"]))
        if known is not None:
            return known
        kek = self._kek(row["kek_id"])
        found = DataKey.unwrapped(tenant, row["id"], kek, Sealed(row["nonce"], row["wrapped"]))
        self._data_keys[tenant, found.id] = found
        if len(self._data_keys) > CACHED_DATA_KEYS:
            self._data_keys.popitem(last=False)
        return found

    def _kek(self, kek_id: str) -> Kek:
        for fresh in (False, True):
            if fresh:
                self._reload_running()  # A rotation elsewhere may have added it.
            for kek in self.keks:
                if kek.id == kek_id:
                    return kek
        raise SecretDamaged("A stored secret does not decrypt: the key file lacks the key it was sealed under.")

    def _reload_running(self) -> None:
        """A file that turned bad under a running hub does not stop it: the keys in memory are good."""
        try:
            self.reload()
        except (FileNotFoundError, KeyFileRefused) as error:
            log.error("key_file_unusable", path=str(self.path), reason=str(error))

    def _create(self) -> None:
        try:
            keyfile.create(self.path, (keyfile.new_kek(),))
        except FileExistsError:
            log.info("key_file_made_by_another_process", path=str(self.path))
        else:
            log.warning("key_file_made", path=str(self.path), advice="copy it to a safe place outside the backups")
        self.reload()

    def _prove(self, row: Record) -> None:
        """The sentinel: one data key of each key-encryption key in use must open."""
        kek = next((kek for kek in self.keks if kek.id == row["kek_id"]), None)
        if kek is None:
            raise KeyFileRefused(
                f"The key file {self.path} lacks the key {row['kek_id']}, which secrets in this database are sealed "
                "under: put back the copy you keep of the file, or use the database that belongs to it."
            )
        try:
            DataKey.unwrapped(row["tenant_id"], row["id"], kek, Sealed(row["nonce"], row["wrapped"]))
        except SecretDamaged:
            raise KeyFileRefused(
                f"The key {kek.id} in {self.path} does not open what is stored under it: the file or the database was "
                "altered. Put back the copy you keep of the file."
            ) from None
