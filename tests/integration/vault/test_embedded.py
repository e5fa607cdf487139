"""The embedded store against somebody who writes into its tables or its key file."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from penguin_hub import vault
from penguin_hub.platform import ids
from penguin_hub.platform.db import Database, ForeignKeyViolation
from penguin_hub.settings import Settings
from penguin_hub.vault import keyfile
from penguin_hub.vault.embedded import EmbeddedStore
from penguin_hub.vault.errors import KeyFileRefused, SecretDamaged, SecretNotFound
from penguin_hub.vault.paths import SYSTEM

PATH = "connections/cnx_1"
CANARY = "canary-Ew4kTt09"


@pytest.fixture
def tenant() -> str:
    return ids.new("ten")


async def another(database: Database, key_file: Path) -> EmbeddedStore:
    """What another process, or this one after a restart, would have."""
    store = EmbeddedStore(database, key_file)
    await store.open()
    return store


async def copy(database: Database, source: tuple[str, str, int], target: tuple[str, str, int], *columns: str) -> None:
    """Overwrite columns of one version with another's, as somebody who may write into the table would."""
    chosen = ", ".join(columns)
    async with database.tenant(source[0]) as connection:
        row = await connection.fetchrow(
            f"SELECT {chosen} FROM secrets WHERE tenant_id = $1 AND path = $2 AND version = $3", *source
        )
    assert row is not None
    assigned = ", ".join(f"{column} = ${number}" for number, column in enumerate(columns, start=4))
    async with database.tenant(target[0]) as connection:
        done = await connection.execute(
            f"UPDATE secrets SET {assigned} WHERE tenant_id = $1 AND path = $2 AND version = $3", *target, *row
        )
    assert done == "UPDATE 1"


async def copy_key(database: Database, source: str, target: str) -> None:
    """Give `target` the data key of `source` as well."""
    async with database.tenant(source) as connection:
        row = await connection.fetchrow(
            "SELECT id, kek_id, nonce, wrapped FROM secret_keys WHERE tenant_id = $1", source
        )
    assert row is not None
    async with database.tenant(target) as connection:
        await connection.execute(
            "INSERT INTO secret_keys (tenant_id, id, kek_id, nonce, wrapped, active) "
            "VALUES ($1, $2, $3, $4, $5, false)",
            target,
            *row,
        )


class TestA39:
    """Whatever is altered: an error, never a wrong plaintext."""

    async def test_a39_a_row_moved_to_another_tenant_does_not_open(
        self, database: Database, embedded_store: EmbeddedStore, key_file: Path, tenant: str
    ) -> None:
        thief = ids.new("ten")
        await embedded_store.write(tenant, PATH, {"k": CANARY}, cas=0)
        await embedded_store.write(thief, PATH, {"k": "own"}, cas=0)
        await copy(database, (tenant, PATH, 1), (thief, PATH, 1), "nonce", "ciphertext")
        with pytest.raises(SecretDamaged):
            await embedded_store.read(thief, PATH)
        with pytest.raises(ForeignKeyViolation):
            await copy(database, (tenant, PATH, 1), (thief, PATH, 1), "nonce", "ciphertext", "key_id")
        # Even with the wrapped data key stolen too: it was wrapped for its owner.
        await copy_key(database, tenant, thief)
        await copy(database, (tenant, PATH, 1), (thief, PATH, 1), "nonce", "ciphertext", "key_id")
        for reader in (embedded_store, await another(database, key_file)):
            with pytest.raises(SecretDamaged):
                await reader.read(thief, PATH)
        assert (await embedded_store.read(tenant, PATH)).fields == {"k": CANARY}

    async def test_a39_a_row_moved_to_another_path_does_not_open(
        self, database: Database, embedded_store: EmbeddedStore, tenant: str
    ) -> None:
        await embedded_store.write(tenant, PATH, {"k": "one"}, cas=0)
        await embedded_store.write(tenant, "connections/cnx_2", {"k": "two"}, cas=0)
        await copy(database, (tenant, PATH, 1), (tenant, "connections/cnx_2", 1), "nonce", "ciphertext")
        with pytest.raises(SecretDamaged):
            await embedded_store.read(tenant, "connections/cnx_2")
        assert (await embedded_store.read(tenant, PATH)).fields == {"k": "one"}

    async def test_a39_a_version_put_back_in_a_newer_place_does_not_open(
        self, database: Database, embedded_store: EmbeddedStore, tenant: str
    ) -> None:
        await embedded_store.write(tenant, PATH, {"k": "old"}, cas=0)
        await embedded_store.write(tenant, PATH, {"k": "new"}, cas=1)
        await copy(database, (tenant, PATH, 1), (tenant, PATH, 2), "nonce", "ciphertext")
        with pytest.raises(SecretDamaged):
            await embedded_store.read(tenant, PATH)

    @pytest.mark.parametrize(
        "attack",
        [
            "UPDATE secret_paths SET current_version = 1 WHERE tenant_id = $1",
            "DELETE FROM secrets WHERE tenant_id = $1 AND version = 2",
        ],
        ids=["number lowered", "row removed"],
    )
    async def test_a39_the_latest_version_cannot_be_rolled_back(
        self, database: Database, embedded_store: EmbeddedStore, tenant: str, attack: str
    ) -> None:
        await embedded_store.write(tenant, PATH, {"k": "old"}, cas=0)
        await embedded_store.write(tenant, PATH, {"k": "new"}, cas=1)
        async with database.tenant(tenant) as connection:
            await connection.execute(attack, tenant)
        with pytest.raises(SecretDamaged):
            await embedded_store.read(tenant, PATH)

    async def test_a39_a_rolled_back_secret_is_not_written_on_and_can_be_erased(
        self, database: Database, embedded_store: EmbeddedStore, tenant: str
    ) -> None:
        await embedded_store.write(tenant, PATH, {"k": "old"}, cas=0)
        await embedded_store.write(tenant, PATH, {"k": "new"}, cas=1)
        async with database.tenant(tenant) as connection:
            await connection.execute("UPDATE secret_paths SET current_version = 1 WHERE tenant_id = $1", tenant)
        with pytest.raises(SecretDamaged):
            await embedded_store.write(tenant, PATH, {"k": "newer"}, cas=1)
        await embedded_store.erase(tenant, PATH)
        assert await embedded_store.write(tenant, PATH, {"k": "newest"}, cas=0) == 1

    @pytest.mark.parametrize("column", ["nonce", "ciphertext"])
    @pytest.mark.parametrize("byte", [0, -1], ids=["first byte", "last byte"])
    async def test_a39_one_flipped_bit_is_noticed(
        self, database: Database, embedded_store: EmbeddedStore, tenant: str, column: str, byte: int
    ) -> None:
        await embedded_store.write(tenant, PATH, {"k": CANARY}, cas=0)
        async with database.tenant(tenant) as connection:
            value = bytearray(await connection.fetchval(f"SELECT {column} FROM secrets WHERE tenant_id = $1", tenant))
            value[byte] ^= 1
            await connection.execute(f"UPDATE secrets SET {column} = $2 WHERE tenant_id = $1", tenant, bytes(value))
        with pytest.raises(SecretDamaged) as caught:
            await embedded_store.read(tenant, PATH)
        assert CANARY not in repr(caught.value)

    async def test_a39_a_cut_ciphertext_is_damaged_and_no_crash(
        self, database: Database, embedded_store: EmbeddedStore, tenant: str
    ) -> None:
        await embedded_store.write(tenant, PATH, {"k": CANARY}, cas=0)
        for length in (0, 1, 15):
            async with database.tenant(tenant) as connection:
                await connection.execute(
                    "UPDATE secrets SET ciphertext = substr(ciphertext, 1, $2) WHERE tenant_id = $1", tenant, length
                )
            with pytest.raises(SecretDamaged):
                await embedded_store.read(tenant, PATH)

    async def test_a39_no_plaintext_and_no_key_lies_in_the_tables(
        self, database: Database, embedded_store: EmbeddedStore, key_file: Path, tenant: str
    ) -> None:
        for version in range(3):
            await embedded_store.write(tenant, PATH, {"k": CANARY}, cas=version)
        stored: list[bytes] = []
        async with database.tenant(tenant) as connection:
            stored += [row[0] for row in await connection.fetch("SELECT ciphertext FROM secrets")]
            stored += [row[0] for row in await connection.fetch("SELECT wrapped FROM secret_keys")]
        assert len(stored) == 4
        assert len(set(stored)) == 4  # The same secret twice does not look the same.
        kek = keyfile.read(key_file)[0]
        assert not [value for value in stored if CANARY.encode() in value or kek.raw in value]

    async def test_a39_destroyed_bytes_are_gone_from_the_row(
        self, database: Database, embedded_store: EmbeddedStore, tenant: str
    ) -> None:
        await embedded_store.write(tenant, PATH, {"k": CANARY}, cas=0)
        await embedded_store.destroy(tenant, PATH, [1])
        async with database.tenant(tenant) as connection:
            row = await connection.fetchrow(
                "SELECT key_id, nonce, ciphertext FROM secrets WHERE tenant_id = $1", tenant
            )
        assert row is not None
        assert list(row.values()) == [None, None, None]

    async def test_a39_a_tenants_transaction_sees_no_other_rows_and_the_relay_only_the_systems(
        self, database: Database, embedded_store: EmbeddedStore, tenant: str
    ) -> None:
        other = ids.new("ten")
        for owner in (tenant, other, SYSTEM):
            await embedded_store.write(owner, PATH, {"k": "v"}, cas=0)
        for table in ("secrets", "secret_paths", "secret_keys"):
            async with database.tenant(tenant) as connection:
                seen = {row[0] for row in await connection.fetch(f"SELECT tenant_id FROM {table}")}
            assert seen == {tenant}
        for table in ("secrets", "secret_paths"):
            async with database.system() as connection:
                seen = {row[0] for row in await connection.fetch(f"SELECT tenant_id FROM {table}")}
            assert seen == {SYSTEM}


class TestStart:
    """Wrong keys: a sentence, and no start."""

    @pytest.fixture
    async def filled(self, embedded_store: EmbeddedStore, key_file: Path, tenant: str) -> Path:
        await embedded_store.write(tenant, PATH, {"k": CANARY}, cas=0)
        return key_file

    async def refusal(self, database: Database, key_file: Path) -> str:
        with pytest.raises(KeyFileRefused) as caught:
            await another(database, key_file)
        text = str(caught.value)
        assert str(key_file) in text
        assert "\n" not in text
        return text

    async def test_a39_a_missing_key_file_is_not_replaced_by_a_new_one(self, database: Database, filled: Path) -> None:
        os.unlink(filled)
        assert "is missing" in await self.refusal(database, filled)
        assert filled.name not in os.listdir(filled.parent)

    async def test_a39_another_key_file_is_refused(self, database: Database, filled: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.json"
        keyfile.create(other, (keyfile.new_kek(),))
        assert "lacks the key kek_" in await self.refusal(database, other)

    async def test_a39_another_key_under_the_same_id_is_refused(self, database: Database, filled: Path) -> None:
        right, wrong = keyfile.read(filled)[0], keyfile.new_kek()
        keyfile.replace(filled, (keyfile.Kek(right.id, right.created_at, wrong.key),))
        assert "does not open" in await self.refusal(database, filled)

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o620, 0o601])
    async def test_a39_a_key_file_that_others_may_use_is_refused(
        self, database: Database, filled: Path, mode: int
    ) -> None:
        os.chmod(filled, mode)
        assert f"mode {mode:04o}" in await self.refusal(database, filled)

    async def test_a39_a_symbolic_link_is_refused(self, database: Database, filled: Path) -> None:
        link = filled.with_name("link.json")
        link.symlink_to(filled)
        assert "symbolic link" in await self.refusal(database, link)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    async def test_a39_somebody_elses_file_is_refused(self, database: Database, filled: Path) -> None:
        os.chown(filled, 12345, 12345)
        assert "another user" in await self.refusal(database, filled)

    @pytest.mark.parametrize("damage", [b"", b"{}", b'{"keys":[]}', b"\xff\xfe", b'{"keys":[{"id":"kek_1"}]}'])
    async def test_a39_a_damaged_key_file_is_refused(self, database: Database, filled: Path, damage: bytes) -> None:
        with filled.open("wb") as file:
            file.write(damage)
        assert "damaged" in await self.refusal(database, filled)

    async def test_a_restart_finds_everything(self, database: Database, filled: Path, tenant: str) -> None:
        store = await another(database, filled)
        assert (await store.read(tenant, PATH)).fields == {"k": CANARY}

    async def test_processes_that_start_together_make_one_key_file(
        self, database: Database, key_file: Path, tenant: str
    ) -> None:
        stores = await asyncio.gather(*(another(database, key_file) for _ in range(5)))
        await stores[0].write(tenant, PATH, {"k": "v"}, cas=0)
        for store in stores:
            assert (await store.read(tenant, PATH)).fields == {"k": "v"}
        assert len(keyfile.read(key_file)) == 1
        assert sorted(path.name for path in key_file.parent.iterdir()) == ["kek.json"]

    async def test_the_settings_choose_the_file(self, settings: Settings, database: Database) -> None:
        store = await vault.open_store(settings, database)
        await store.check()
        await store.close()
        made = settings.data / "keys" / "kek.json"
        assert made.stat().st_mode & 0o777 == 0o600
        assert made.parent.stat().st_mode & 0o777 == 0o700

    async def test_a_file_that_turns_bad_under_a_running_hub_does_not_stop_it(
        self, embedded_store: EmbeddedStore, filled: Path, tenant: str
    ) -> None:
        os.chmod(filled, 0o644)
        assert (await embedded_store.read(tenant, PATH)).fields == {"k": CANARY}
        await embedded_store.write(ids.new("ten"), PATH, {"k": "v"}, cas=0)


async def test_a_lost_data_key_is_damage_and_not_absence(
    database: Database, embedded_store: EmbeddedStore, tenant: str
) -> None:
    async with database.system() as connection:
        await connection.execute("DELETE FROM secret_keys WHERE tenant_id = 'system'")
    with pytest.raises(SecretDamaged):
        await embedded_store.check()
    with pytest.raises(SecretNotFound):
        await embedded_store.read(tenant, PATH)


async def test_a_warm_read_is_quick(embedded_store: EmbeddedStore, tenant: str) -> None:
    """Generous, so that a busy machine passes: what it catches is a bcrypt or a file read on the path."""
    await embedded_store.write(tenant, PATH, {"k": "v"}, cas=0)
    await embedded_store.read(tenant, PATH)
    start = time.perf_counter()
    for _ in range(50):
        await embedded_store.read(tenant, PATH)
    assert (time.perf_counter() - start) / 50 < 0.05
