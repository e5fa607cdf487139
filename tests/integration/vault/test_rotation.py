"""The embedded store's keys change while it is in use."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from penguin_hub.platform import ids
from penguin_hub.platform.db import Database
from penguin_hub.settings import Settings
from penguin_hub.vault import keyfile, rotation
from penguin_hub.vault import store as sql
from penguin_hub.vault.embedded import EmbeddedStore
from penguin_hub.vault.envelope import ROTATE_AT
from penguin_hub.vault.errors import KeyFileRefused
from penguin_hub.vault.paths import SYSTEM

PATH = "connections/cnx_1"


@pytest.fixture
def tenant() -> str:
    return ids.new("ten")


async def another(database: Database, key_file: Path) -> EmbeddedStore:
    """What another process, or this one after a restart, would have."""
    store = EmbeddedStore(database, key_file)
    await store.open()
    return store


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


class TestCommand:
    async def run(self, settings: Settings, key_file: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "penguin_hub.vault", *arguments),
            env={
                "PATH": os.environ["PATH"],
                "DATABASE_URL": settings.database_url,
                "REDIS_URL": settings.redis_url,
                "PENGUIN_KEY_FILE": str(key_file),
                **environ,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate()
        return process.returncode or 0, out.decode(), error.decode()

    async def test_an_operator_changes_keys_under_a_running_hub(
        self, settings: Settings, database: Database, embedded_store: EmbeddedStore, key_file: Path, tenant: str
    ) -> None:
        await embedded_store.write(tenant, PATH, {"k": "canary-b81"}, cas=0)
        old = keyfile.read(key_file)[0].id
        for arguments, says in (
            (["prepare-kek"], "Added kek_"),
            (["rotate-kek"], "Wrapped 2 data keys"),
            (["rotate-dek", tenant], "sealed by a new data key"),
            (["drop-unused-keks"], f"Removed {old}."),
            (["drop-unused-keks"], "Every key in the file is active"),
        ):
            code, out, error = await self.run(settings, key_file, *arguments)
            assert (code, says in out) == (0, True), error
            assert "canary" not in out + error
            assert (await embedded_store.read(tenant, PATH)).fields == {"k": "canary-b81"}
        assert len(keyfile.read(key_file)) == 1

    async def test_what_is_wrong_is_a_sentence(
        self, settings: Settings, embedded_store: EmbeddedStore, key_file: Path, tmp_path: Path
    ) -> None:
        vault = {"VAULT_ADDR": "http://127.0.0.1:9", "VAULT_TOKEN": "t"}
        for arguments, file, environ, says in (
            (["rotate-kek"], tmp_path / "away.json", {}, "is missing"),
            (["rotate-dek", "ten_x"], key_file, {}, "not a tenant id"),
            (["rotate-kek"], key_file, vault, "VAULT_ADDR is set"),
        ):
            code, out, error = await self.run(settings, file, *arguments, **environ)
            assert (code, out) == (1, "")
            assert says in error
            assert "Traceback" not in error
