"""`penguin up` as its users meet it: starting, stopping, starting again, and what keeps it from starting."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support import hub as hubs
from support import servers as server_support
from support.hub import Hub
from support.servers import Servers

StartHub = Callable[..., Hub]


def get(hub: Hub, path: str, key: str | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(hub.url + path)  # noqa: S310 -- the hub's own address
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 -- likewise
        return answer.status, answer.read()


def failing(*arguments: str, extra: dict[str, str] | None = None) -> str:
    """The one sentence of a command that cannot do its work."""
    done = hubs.run(*arguments, extra=extra)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("penguin: ")]
    assert len(said) == 1, done.stderr
    return said[0]


def test_the_first_start_says_what_the_contract_names(start_embedded_hub: StartHub) -> None:
    hub = start_embedded_hub()
    assert list(hub.ready) == ["ready", "url", "tenant", "workspace", "live_key", "test_key", "dashboard"]
    assert hub.ready["ready"] is True
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", hub.url)
    assert re.fullmatch(r"ten_[0-9a-v]{26}", hub.tenant)
    assert re.fullmatch(r"wsp_[0-9a-v]{26}", hub.workspace)
    assert re.fullmatch(r"pm_live_[0-9A-Za-z]{32}", hub.live_key)
    assert re.fullmatch(r"pm_test_[0-9A-Za-z]{32}", hub.test_key)
    assert hub.ready["dashboard"]["url"] == f"{hub.url}/dashboard"
    for key in (hub.live_key, hub.test_key):
        assert get(hub, "/api/v1/contacts", key)[0] == 200
    assert sorted(hub.pids()) == ["api", "postgres", "valkey", "worker"]

    for file in ("credentials.json", "run.json", "hub.lock"):
        assert stat.S_IMODE((hub.data / file).stat().st_mode) == 0o600
    assert stat.S_IMODE(hub.data.stat().st_mode) == 0o700
    log = hub.text()
    for secret in (hub.live_key, hub.test_key, hub.ready["dashboard"]["password"]):
        assert secret not in log
    for line in log.splitlines():
        json.loads(line)

    assert hub.stop() == 0
    assert hub.process.stdout is not None
    assert hub.process.stdout.read() == "", "more than one line on standard output"


def test_a_later_start_finds_everything_again(start_embedded_hub: StartHub) -> None:
    first = start_embedded_hub()
    request = urllib.request.Request(  # noqa: S310 -- the hub's own address
        f"{first.url}/api/v1/contacts",
        data=b'{"email":"ada@example.com"}',
        headers={"Authorization": f"Bearer {first.live_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 -- likewise
        assert answer.status == 201
    assert first.stop() == 0
    second = start_embedded_hub(data=first.data)
    same = ("tenant", "workspace", "live_key", "test_key")
    assert [second.ready[name] for name in same] == [first.ready[name] for name in same]
    assert second.ready["dashboard"]["password"] == first.ready["dashboard"]["password"]
    assert b"ada@example.com" in get(second, "/api/v1/contacts", second.live_key)[1]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything(start_embedded_hub: StartHub, how: signal.Signals) -> None:
    hub = start_embedded_hub()
    family = hub.family()
    assert hub.stop(how) == 0
    _, alive = psutil.wait_procs(family, timeout=1)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert not (hub.data / "run.json").exists()
    stopped = [json.loads(line)["part"] for line in hub.text().splitlines() if '"stopping"' in line]
    assert stopped == ["api", "worker", "valkey", "postgres"]


def test_a_signal_while_it_starts_ends_everything(folder: Path) -> None:
    process = hubs.spawn(folder / "hub", folder / "log")
    deadline = time.monotonic() + 20
    own = psutil.Process(process.pid)
    while not (children := own.children(recursive=True)) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == 0
    _, alive = psutil.wait_procs(children, timeout=2)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def test_a_killed_hub_takes_its_processes_along_and_starts_again(start_embedded_hub: StartHub) -> None:
    first = start_embedded_hub()
    family = first.family()
    first.process.kill()
    first.process.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    second = start_embedded_hub(data=first.data)
    assert second.live_key == first.live_key
    assert get(second, "/api/v1/contacts", second.live_key)[0] == 200


def test_a_second_hub_on_the_folder_is_refused(start_embedded_hub: StartHub) -> None:
    hub = start_embedded_hub()
    said = failing("up", "--data", str(hub.data), "--port", "0", "--json")
    assert f"already running on {hub.data}" in said
    assert f"process {hub.process.pid}" in said
    assert get(hub, "/api/v1/contacts", hub.live_key)[0] == 200


def test_a_port_in_use_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = failing("up", "--data", str(folder / "hub"), "--port", str(port))
    assert f"Port {port} on 127.0.0.1 is in use" in said
    assert "--port" in said
    assert not (folder / "hub" / "postgres").exists()


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"DATABASE_URL": "mysql://u:p@127.0.0.1/db"}, "DATABASE_URL must start with postgresql://"),
        ({"DATABASE_URL": "postgresql://u:secret-word@127.0.0.1:1/db"}, "PostgreSQL at 127.0.0.1"),
        ({"DATABASE_URL": "postgresql://u@127.0.0.1:1/db"}, "DATABASE_URL needs a user with a password"),
        ({"DATABASE_URL": "postgresql://u:secret-word@127.0.0.1:port/db"}, "DATABASE_URL is not a URL"),
        ({"REDIS_URL": "redis://:secret-word@127.0.0.1:1/0"}, "Redis at 127.0.0.1"),
        ({"REDIS_URL": "http://127.0.0.1"}, "REDIS_URL must start with redis://"),
        ({"PENGUIN_ENV": "staging"}, "PENGUIN_ENV"),
        ({"PENGUIN_ENV": "production"}, "PENGUIN_UNSAFE=1"),
        ({"DATABASE_URL": "vault:secret/hub/database"}, "set VAULT_ADDR"),
    ],
)
def test_a_wrong_setting_is_named(folder: Path, extra: dict[str, str], words: str) -> None:
    said = failing("up", "--data", str(folder / "hub"), "--port", "0", extra=extra)
    assert words in said
    assert "secret-word" not in said


def test_a_folder_that_is_none_is_named(folder: Path) -> None:
    file = folder / "file"
    file.write_text("")
    assert "is a file" in failing("up", "--data", str(file), "--port", "0")
    assert "cannot be made" in failing("up", "--data", str(file / "below"), "--port", "0")


@pytest.mark.skipif(not Path("/proc/1").exists(), reason="needs a place where even root may not write")
def test_a_folder_that_cannot_be_written_is_named() -> None:
    assert "cannot be made" in failing("up", "--data", "/proc/penguin", "--port", "0")


def test_a_damaged_folder_is_named(start_embedded_hub: StartHub) -> None:
    hub = start_embedded_hub()
    assert hub.stop() == 0
    (hub.data / "postgres" / "global" / "pg_control").write_bytes(b"")
    said = failing("up", "--data", str(hub.data), "--port", "0")
    assert str(hub.data / "postgres") in said
    assert "backup" in said
    (hub.data / "credentials.json").write_text("{")
    assert "credentials.json is damaged" in failing("up", "--data", str(hub.data), "--port", "0")


def test_a_host_that_is_not_ours_is_named(folder: Path) -> None:
    assert "--host" in failing("up", "--data", str(folder / "hub"), "--host", "203.0.113.1", "--port", "0")
    assert "--host" in failing("up", "--data", str(folder / "hub"), "--host", "no host", "--port", "0")
    assert "--port" in failing("up", "--data", str(folder / "hub"), "--port", "70000")


def test_people_get_a_banner(folder: Path) -> None:
    process = hubs.spawn(folder / "hub", folder / "log", as_json=False)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
    text = "".join(lines)
    for word in ("pm_live_", "pm_test_", "/api/docs", "/dashboard", str(folder / "hub")):
        assert word in text


async def test_servers_by_url_are_used_and_left_running(servers: Servers, folder: Path) -> None:
    name = f"test_up_{os.getpid()}"
    url = await server_support.create_empty(servers, name)
    extra = {"DATABASE_URL": url, "REDIS_URL": servers.redis_url}
    for _ in range(2):
        hub = hubs.start(folder / "hub", extra=extra)
        try:
            assert sorted(hub.pids()) == ["api", "worker"]
            assert not (hub.data / "postgres").exists()
            assert (await asyncio.to_thread(get, hub, "/api/v1/contacts", hub.live_key))[0] == 200
        finally:
            await asyncio.to_thread(hubs.close, hub)
    # Another, empty database does not know the sample tenant of the last start: it gets its own.
    first = hub
    url = await server_support.create_empty(servers, name)
    hub = hubs.start(folder / "hub", extra={**extra, "DATABASE_URL": url})
    try:
        assert hub.tenant != first.tenant
        assert (await asyncio.to_thread(get, hub, "/api/v1/contacts", hub.live_key))[0] == 200
    finally:
        await asyncio.to_thread(hubs.close, hub)
