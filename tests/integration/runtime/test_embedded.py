"""PostgreSQL and Valkey in the data folder: private, durable, and started again after whatever happened to them."""

import asyncio
import os
import shutil
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis.asyncio as aioredis
from penguin_hub.platform.embedded import DataFolder, Postgres, StartupError, Valkey
from penguin_hub.platform.embedded import binaries as embedded_binaries
from penguin_hub.platform.embedded.process import holders

AS_ROOT = os.geteuid() == 0
Pair = tuple[Postgres, Valkey]


def servers(path: Path) -> Pair:
    home = DataFolder(path)
    home.prepare()
    credentials = home.credentials()
    return Postgres(home, credentials.postgres_password), Valkey(home, credentials.valkey_password)


@asynccontextmanager
async def started(path: Path) -> AsyncIterator[Pair]:
    postgres, valkey = servers(path)
    try:
        await asyncio.gather(postgres.start(), valkey.start())
        yield postgres, valkey
    finally:
        await asyncio.gather(postgres.stop(), valkey.stop())
        postgres.home.forget_sockets()


async def query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def value(url: str, *command: str) -> object:
    client = aioredis.Redis.from_url(url)
    try:
        return await client.execute_command(*command)
    finally:
        await client.aclose()


async def test_what_was_written_is_there_after_a_restart(folder: Path) -> None:
    async with started(folder / "hub") as (postgres, valkey):
        await query(postgres.url, "CREATE TABLE kept AS SELECT 7 AS number")
        await value(valkey.url, "SET", "kept", "7")
    async with started(folder / "hub") as (postgres, valkey):
        assert await query(postgres.url, "SELECT number FROM kept") == 7
        assert await value(valkey.url, "GET", "kept") == b"7"


async def test_nobody_else_gets_in(folder: Path) -> None:
    async with started(folder / "hub") as (postgres, valkey):
        assert postgres.process is not None
        assert valkey.process is not None
        for pid in (postgres.process.pid, valkey.process.pid):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                assert not one.net_connections("inet"), "a TCP or UDP socket is open"
                assert one.uids().effective != 0 or not AS_ROOT
            assert not any(word in " ".join(process.cmdline()) for word in _passwords(folder / "hub"))
        for path in (folder / "hub", postgres.folder, valkey.folder, postgres.sockets):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        for file in ("credentials.json", "postgres.log", "valkey.log"):
            assert stat.S_IMODE((folder / "hub" / file).stat().st_mode) == 0o600
        password = postgres.url.split(":")[2].split("@")[0]
        with pytest.raises(asyncpg.InvalidPasswordError):
            await query(postgres.url.replace(password, "guess"), "SELECT 1")
        own = _passwords(folder / "hub")[1]
        with pytest.raises(aioredis.ConnectionError, match="invalid username-password"):
            await value(valkey.url.replace(own, "guess"), "PING")
        assert await query(postgres.url, "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules") == (
            "scram-sha-256"
        )


def _passwords(path: Path) -> list[str]:
    credentials = DataFolder(path).credentials()
    return [credentials.postgres_password, credentials.valkey_password]


async def test_what_is_committed_is_on_disk(folder: Path) -> None:
    async with started(folder / "hub") as (postgres, valkey):
        for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert await query(postgres.url, f"SHOW {name}") == "on"
        assert await value(valkey.url, "CONFIG", "GET", "appendonly") == [b"appendonly", b"yes"]


@pytest.mark.skipif(not AS_ROOT, reason="only root hands its folders over to another account")
async def test_as_root_no_folder_above_is_opened_to_others() -> None:
    top = Path.home() / f".penguin-test-{os.getpid()}"
    top.mkdir(mode=0o700)
    try:
        before = [path.stat().st_mode for path in top.parents]
        async with started(top / "deep" / "hub") as (postgres, _):
            assert await query(postgres.url, "SELECT 1") == 1
            assert postgres.folder.stat().st_uid != 0
        assert [path.stat().st_mode for path in top.parents] == before
        assert stat.S_IMODE(top.stat().st_mode) == 0o700
    finally:
        shutil.rmtree(top)


@pytest.mark.skipif(not AS_ROOT, reason="only root's servers run as somebody who might not reach the programs")
async def test_programs_out_of_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_binaries, "can_reach", lambda *_: False)
    monkeypatch.setattr(embedded_binaries, "_cache", lambda _: folder)
    os.chmod(folder, 0o711)  # noqa: S103 -- the copies lie in it, and the servers must reach them
    for _ in range(2):  # made once, then used again
        async with started(folder / "hub") as (postgres, valkey):
            assert postgres.process is not None
            assert psutil.Process(postgres.process.pid).exe().startswith(str(folder / "penguin-programs-"))
            assert await query(postgres.url, "SELECT upper('ä')") == "Ä"
            assert await value(valkey.url, "ECHO", "here") == b"here"
    assert len([name for name in os.listdir(folder) if name.startswith("penguin-programs-")]) == 2


@pytest.mark.parametrize("name", ["x" * 120, "with, comma and space", "ünï%20code"])
async def test_any_folder_will_do(folder: Path, name: str) -> None:
    async with started(folder / name) as (postgres, valkey):
        assert len(os.fsencode(postgres.sockets / ".s.PGSQL.5432")) <= 107
        assert await query(postgres.url, "SELECT 1") == 1
        assert await value(valkey.url, "ECHO", "here") == b"here"
        sockets = postgres.sockets
    assert not sockets.exists()


async def test_killed_servers_start_again(folder: Path) -> None:
    async with started(folder / "hub") as (postgres, valkey):
        await query(postgres.url, "CREATE TABLE kept AS SELECT 7 AS number")
        for server in (postgres, valkey):
            assert server.process is not None
            server.process.kill()
            server.process.wait()
            await server.start()
        assert await query(postgres.url, "SELECT number FROM kept") == 7
        assert await value(valkey.url, "ECHO", "here") == b"here"


async def test_what_a_killed_hub_left_running_is_replaced(folder: Path) -> None:
    """A hub that dies takes its servers along on Linux; elsewhere, or when that fails, they are left running."""
    postgres, valkey = servers(folder / "hub")
    await asyncio.gather(postgres.start(), valkey.start())
    old = [server.process.pid for server in (postgres, valkey) if server.process is not None]
    async with started(folder / "hub") as (new_postgres, new_valkey):
        assert await query(new_postgres.url, "SELECT 1") == 1
        assert await value(new_valkey.url, "ECHO", "here") == b"here"
        for server in (postgres, valkey):
            assert server.process is not None
            assert server.process.wait(5) is not None
        assert not set(old) & set(holders("postgres", postgres.folder) + holders("valkey-server", valkey.folder))


async def test_servers_end_with_the_process_that_started_them(folder: Path) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path; from penguin_hub.platform.embedded import *\n"
        "home = DataFolder(Path(sys.argv[1])); home.prepare(); c = home.credentials()\n"
        "async def main():\n"
        "    p, v = Postgres(home, c.postgres_password), Valkey(home, c.valkey_password)\n"
        "    await asyncio.gather(p.start(), v.start()); print(p.process.pid, v.process.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(folder / "hub"), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    processes = [psutil.Process(int(word)) for word in (await parent.stdout.readline()).split()]
    parent.kill()
    await parent.communicate()
    if sys.platform == "linux":
        _, alive = await asyncio.to_thread(psutil.wait_procs, processes, 10)
        assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    async with started(folder / "hub") as (postgres, _):
        assert await query(postgres.url, "SELECT 1") == 1


async def test_a_process_id_in_use_by_another_program_is_no_obstacle(folder: Path) -> None:
    async with started(folder / "hub") as (postgres, _):
        assert postgres.process is not None
        postgres.process.kill()
        postgres.process.wait()
        lines = postgres.pid_file.read_text().splitlines()
        postgres.pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        await postgres.start()
        assert await query(postgres.url, "SELECT 1") == 1


def _remove_version(data: Path) -> None:
    (data / "PG_VERSION").unlink()


def _other_version(data: Path) -> None:
    (data / "PG_VERSION").write_text("17\n")


def _damage_control_file(data: Path) -> None:
    (data / "global" / "pg_control").write_bytes(bytes(8192))


def _remove_wal(data: Path) -> None:
    for file in (data / "pg_wal").glob("0*"):
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_remove_version, "damaged"),
        (_other_version, "PostgreSQL 17"),
        (_damage_control_file, "PostgreSQL cannot start"),
        (_remove_wal, "PostgreSQL cannot start"),
    ],
)
async def test_a_damaged_folder_is_named(folder: Path, damage: Callable[[Path], None], words: str) -> None:
    async with started(folder / "hub") as (postgres, _):
        pass
    damage(postgres.folder)
    with pytest.raises(StartupError, match=words) as raised:
        await Postgres(postgres.home, "x").start()
    assert str(postgres.folder) in str(raised.value)
    assert "backup" in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_damaged_valkey_data_is_moved_aside(folder: Path) -> None:
    async with started(folder / "hub") as (_, valkey):
        await value(valkey.url, "SET", "a", "b")
    (part,) = (valkey.folder / "appendonlydir").glob("*.incr.aof")
    part.write_bytes(b"*3\r\n$3\r\nSET\r\nnonsense\r\n$1\r\n1\r\n" + part.read_bytes())
    async with started(folder / "hub") as (_, valkey):
        assert await value(valkey.url, "DBSIZE") == 0
    assert len(list((folder / "hub").glob("valkey.damaged-*"))) == 1


async def test_an_unfinished_first_start_is_begun_again(folder: Path) -> None:
    postgres, _ = servers(folder / "hub")
    unfinished = folder / "hub" / "postgres.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    try:
        await postgres.start()
        assert await query(postgres.url, "SELECT current_database()") == "penguin"
        assert not unfinished.exists()
    finally:
        await postgres.stop()


async def test_lost_credentials_are_named(folder: Path) -> None:
    async with started(folder / "hub"):
        pass
    (folder / "hub" / "credentials.json").unlink()
    with pytest.raises(StartupError, match=r"credentials\.json is missing"):
        DataFolder(folder / "hub").credentials()


async def test_a_stopped_server_can_be_stopped_again(folder: Path) -> None:
    async with started(folder / "hub") as (postgres, valkey):
        pid = postgres.process.pid if postgres.process else 0
        await postgres.stop()
        await valkey.stop()
    assert not psutil.pid_exists(pid)


async def test_a_server_that_does_not_end_in_time_is_ended_harder(folder: Path) -> None:
    async with started(folder / "hub") as (postgres, valkey):
        assert valkey.process is not None
        process = valkey.process
        process.send_signal(signal.SIGSTOP)
        await valkey.stop(seconds=0.2)
        assert process.returncode == -signal.SIGKILL
        del postgres
