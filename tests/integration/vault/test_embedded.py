"""The embedded store against somebody who writes into its tables or its key file, and its key rotations."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from penguin_hub import vault
from penguin_hub.platform import ids
from penguin_hub.platform.db import Database, ForeignKeyViolation
from penguin_hub.settings import Settings
from penguin_hub.vault import keyfile, rotation
from penguin_hub.vault import store as sql
from penguin_hub.vault.embedded import EmbeddedStore
from penguin_hub.vault.envelope import ROTATE_AT
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


async def keks_used(database: Database) -> set[str]:
    async with database.system() as connection:
        return {row[0] for row in await connection.fetch("SELECT DISTINCT kek_id FROM secret_keys")}


class TestKekRotation:
    async def test_reads_work_throughout_here_and_in_other_processes(
        self, database: Database, embedded_store: EmbeddedStore, key_file: Path
    ) -> None:
        tenants = [ids.new("ten") for _ in range(12)]
        for owner in tenants:
            await embedded_store.write(owner, PATH, {"k": owner}, cas=0)
        elsewhere = await another(database, key_file)
        old = keyfile.read(key_file)[0]
        stop = asyncio.Event()

        async def keep_reading() -> int:
            count = 0
            while not stop.is_set():
                # A process that has nothing cached has to unwrap, at every stage of the rotation.
                cold = EmbeddedStore(database, key_file)
                await cold.open()
                for store in (cold, elsewhere):
                    for owner in tenants:
                        assert (await store.read(owner, PATH)).fields == {"k": owner}
                        count += 1
            return count

        reader = asyncio.create_task(keep_reading())
        assert await embedded_store.rotate_kek() == len(tenants) + 1  # and the system's
        assert await embedded_store.rotate_kek() == len(tenants) + 1
        stop.set()
        assert await reader > 0
        new = keyfile.read(key_file)
        assert [kek.id for kek in new[1:]][-1] == old.id
        assert len(new) == 3
        assert await keks_used(database) == {new[0].id}
        # One who has cached nothing of these tenants meets a key he has not read from the file yet.
        await elsewhere.write(ids.new("ten"), PATH, {"k": "v"}, cas=0)
        assert await keks_used(database) == {new[0].id}

    async def test_an_interrupted_rotation_is_continued_without_another_key(
        self, database: Database, embedded_store: EmbeddedStore, key_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(5):
            await embedded_store.write(ids.new("ten"), PATH, {"k": "v"}, cas=0)
        monkeypatch.setattr(rotation, "BATCH", 2)
        rewrap, calls = sql.rewrap, 0

        async def killed(*args: Any, **kwargs: Any) -> None:
            nonlocal calls
            calls += 1
            if calls > 3:
                raise KeyboardInterrupt
            await rewrap(*args, **kwargs)

        monkeypatch.setattr(sql, "rewrap", killed)
        task = embedded_store.rotate_kek()
        with pytest.raises(KeyboardInterrupt):
            await task
        monkeypatch.setattr(sql, "rewrap", rewrap)
        assert len(await keks_used(database)) == 2
        assert await embedded_store.drop_unused_keks() == []
        again = await another(database, key_file)
        assert await again.rotate_kek() == 4
        assert len(keyfile.read(key_file)) == 2
        assert await keks_used(database) == {keyfile.read(key_file)[0].id}

    async def test_a_prepared_key_is_used_and_unused_ones_are_dropped(
        self, database: Database, embedded_store: EmbeddedStore, key_file: Path, tenant: str
    ) -> None:
        await embedded_store.write(tenant, PATH, {"k": "v"}, cas=0)
        old = keyfile.read(key_file)[0].id
        prepared = await embedded_store.prepare_kek()
        assert [kek.id for kek in keyfile.read(key_file)] == [old, prepared]
        assert await embedded_store.drop_unused_keks() == []
        await embedded_store.rotate_kek()
        assert [kek.id for kek in keyfile.read(key_file)] == [prepared, old]
        assert await embedded_store.drop_unused_keks() == [old]
        assert [kek.id for kek in keyfile.read(key_file)] == [prepared]
        assert (await (await another(database, key_file)).read(tenant, PATH)).fields == {"k": "v"}

    async def test_the_old_key_opens_nothing_any_longer(
        self, database: Database, embedded_store: EmbeddedStore, key_file: Path, tenant: str, tmp_path: Path
    ) -> None:
        await embedded_store.write(tenant, PATH, {"k": "v"}, cas=0)
        stolen = tmp_path / "stolen.json"
        keyfile.create(stolen, keyfile.read(key_file))
        await embedded_store.rotate_kek()
        with pytest.raises(KeyFileRefused):
            await another(database, stolen)


async def finished(progress: AsyncIterator[rotation.Progress]) -> list[rotation.Progress]:
    return [step async for step in progress]


async def data_keys(database: Database, tenant: str) -> list[str]:
    async with database.tenant(tenant) as connection:
        return [row[0] for row in await connection.fetch("SELECT id FROM secret_keys ORDER BY id")]


class TestDekRotation:
    @pytest.fixture
    async def paths(
        self, embedded_store: EmbeddedStore, tenant: str, monkeypatch: pytest.MonkeyPatch
    ) -> dict[str, str]:
        monkeypatch.setattr(rotation, "BATCH", 3)
        paths = {f"connections/cnx_{n}": str(n) for n in range(5)}
        for path, value in paths.items():
            await embedded_store.write(tenant, path, {"k": "earlier"}, cas=0)
            await embedded_store.write(tenant, path, {"k": value}, cas=1)
        await embedded_store.destroy(tenant, "connections/cnx_0", [1])
        return paths

    async def test_everything_is_sealed_anew_and_the_old_key_goes(
        self, database: Database, embedded_store: EmbeddedStore, key_file: Path, tenant: str, paths: dict[str, str]
    ) -> None:
        (old,) = await data_keys(database, tenant)
        steps = await finished(embedded_store.rotate_dek(tenant))
        assert steps[0] == rotation.Progress(0, 14)  # 9 versions and 5 heads
        assert steps[-1] == rotation.Progress(14, 14)
        assert [step.done for step in steps] == sorted(step.done for step in steps)
        (new,) = await data_keys(database, tenant)
        assert new != old
        for store in (embedded_store, await another(database, key_file)):
            for path, value in paths.items():
                assert (await store.read(tenant, path)).fields == {"k": value}
            assert (await store.read(tenant, "connections/cnx_1", version=1)).fields == {"k": "earlier"}

    async def test_it_is_continued_where_it_stopped(
        self, database: Database, embedded_store: EmbeddedStore, tenant: str, paths: dict[str, str]
    ) -> None:
        progress = embedded_store.rotate_dek(tenant)
        async for step in progress:
            if step.done >= 3:
                break
        await progress.aclose()  # type: ignore[attr-defined]  # a generator behind its interface
        keys = await data_keys(database, tenant)
        assert len(keys) == 2
        for path, value in paths.items():
            assert (await embedded_store.read(tenant, path)).fields == {"k": value}
        steps = await finished(embedded_store.rotate_dek(tenant))
        assert steps[0] == rotation.Progress(0, 11)
        assert await data_keys(database, tenant) == [max(keys)]

    async def test_reads_and_writes_go_on(
        self, database: Database, embedded_store: EmbeddedStore, key_file: Path, tenant: str, paths: dict[str, str]
    ) -> None:
        elsewhere = await another(database, key_file)
        stop = asyncio.Event()

        async def work(path: str, store: EmbeddedStore) -> int:
            version = 2
            while not stop.is_set():
                version = await store.write(tenant, path, {"k": str(version)}, cas=version)
                assert (await elsewhere.read(tenant, path)).fields == {"k": str(version - 1)}
            return version

        workers = [
            asyncio.create_task(work(path, store))
            for path, store in zip(paths, [embedded_store, elsewhere] * 3, strict=False)
        ]
        for _ in range(4):
            await finished(embedded_store.rotate_dek(tenant))
        stop.set()
        versions = await asyncio.gather(*workers)
        assert min(versions) > 2
        for path, version in zip(paths, versions, strict=True):
            assert (await embedded_store.read(tenant, path)).version == version
        assert len(await data_keys(database, tenant)) == 1

    async def test_a_tenant_without_secrets_and_the_system_have_keys_to_rotate(
        self, database: Database, embedded_store: EmbeddedStore, key_file: Path, tenant: str
    ) -> None:
        assert (await finished(embedded_store.rotate_dek(tenant)))[-1] == rotation.Progress(0, 0)
        assert len(await data_keys(database, tenant)) == 1
        await embedded_store.write(SYSTEM, PATH, {"k": "v"}, cas=0)
        await finished(embedded_store.rotate_dek(SYSTEM))
        assert (await (await another(database, key_file)).read(SYSTEM, PATH)).fields == {"k": "v"}

    async def test_a_worn_key_is_replaced_by_the_next_write(
        self, database: Database, embedded_store: EmbeddedStore, tenant: str
    ) -> None:
        await embedded_store.write(tenant, PATH, {"k": "1"}, cas=0)
        async with database.tenant(tenant) as connection:
            await connection.execute("UPDATE secret_keys SET messages = $1", ROTATE_AT - 1)
        await embedded_store.write(tenant, PATH, {"k": "2"}, cas=1)
        assert len(await data_keys(database, tenant)) == 2
        assert (await embedded_store.read(tenant, PATH, version=1)).fields == {"k": "1"}
        assert (await embedded_store.read(tenant, PATH)).fields == {"k": "2"}


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
