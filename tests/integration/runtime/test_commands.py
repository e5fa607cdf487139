"""The operator's commands beside a running hub."""

import json
import os
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import hub as hubs
from support import servers as server_support
from support.hub import Hub
from support.servers import Servers


def answer(*arguments: str, code: int = 0, extra: Mapping[str, str] | None = None, cwd: Path | None = None) -> Any:
    """What a command says as JSON."""
    done = hubs.run(*arguments, "--json", extra=extra, cwd=cwd)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def status(url: str, key: str) -> int:
    request = urllib.request.Request(f"{url}/api/v1/plugins", headers={"Authorization": f"Bearer {key}"})  # noqa: S310 -- our hub
    try:
        with urllib.request.urlopen(request, timeout=10) as got:  # noqa: S310 -- likewise
            return int(got.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def own(hub: Hub, *more: str) -> tuple[str, ...]:
    return ("--data", str(hub.data), "--tenant", hub.tenant, *more)


def test_a_key_is_made_used_listed_and_revoked(hub: Hub) -> None:
    made = answer(
        "keys", "create", *own(hub, "--name", "ci", "--scopes", "send_email,manage_contacts", "--expires-in", "1")
    )
    assert made["key"].startswith("pm_live_")
    assert made["scopes"] == ["send_email", "manage_contacts"]
    assert made["expires_at"] is not None
    assert status(hub.url, made["key"]) == 200
    listed = {key["id"]: key for key in answer("keys", "list", *own(hub))}
    assert listed[made["id"]]["status"] == "active"
    assert "key" not in listed[made["id"]]
    assert answer("keys", "revoke", made["id"], *own(hub)) == {"id": made["id"], "status": "revoked"}
    assert status(hub.url, made["key"]) == 401
    assert made["id"] in {key["id"] for key in answer("keys", "list", *own(hub, "--status", "revoked"))}


def test_a_key_with_an_unknown_scope_is_refused(hub: Hub) -> None:
    done = hubs.run("keys", "create", *own(hub, "--name", "x", "--scopes", "everything"))
    assert done.returncode == 1
    assert "everything" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_foreign_key_is_not_found(hub: Hub) -> None:
    done = hubs.run("keys", "revoke", "key_00000000000000000000000000", *own(hub))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_tenant_is_made_with_its_owner(hub: Hub) -> None:
    made = answer("tenants", "create", "Acme", "--owner", "ada@acme.example", "--plan", "pro", "--data", str(hub.data))
    assert made["tenant"].startswith("ten_")
    assert len(made["password"]) >= 16
    assert made["tenant"] in {one["id"] for one in answer("tenants", "list", "--data", str(hub.data))}
    key = answer(
        "keys", "create", "--data", str(hub.data), "--tenant", made["tenant"], "--name", "first", "--scopes", "all"
    )
    assert status(hub.url, key["key"]) == 200
    done = hubs.run("keys", "list", "--data", str(hub.data))
    assert done.returncode == 1
    assert "--tenant" in done.stderr


def test_the_doctor_finds_a_running_hub_healthy(hub: Hub) -> None:
    port = hub.url.rpartition(":")[2]
    found = answer("doctor", "--data", str(hub.data), "--port", port, extra=_urls(hub))
    assert found["healthy"] is True, found
    checks = {check["check"]: check["state"] for check in found["checks"]}
    assert not [name for name, state in checks.items() if state == "fail"]
    assert set(checks) == {
        "python", "file descriptors", "data folder", "disk", "port", "settings", "postgresql", "durability", "clock",
        "migrations", "roles", "redis", "secrets",
    }  # fmt: skip


def test_the_doctor_says_what_is_wrong(hub: Hub, folder: Path) -> None:
    (folder / "run.json").write_text("{")
    assert not answer("doctor", "--data", str(folder), "--port", "0", code=1)["healthy"]
    nowhere = {"DATABASE_URL": "postgresql://u:secret-word@127.0.0.1:1/d", "REDIS_URL": "redis://127.0.0.1:1"}
    found = hubs.run("doctor", "--data", str(folder), "--port", "0", extra=nowhere)
    assert found.returncode == 1
    for words in ("FAIL  postgresql", "FAIL  redis", "FAIL  secrets", "->"):
        assert words in found.stdout
    assert "secret-word" not in found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    del hub


async def test_the_doctor_notices_a_database_that_is_not_migrated(servers: Servers, folder: Path) -> None:
    url = await server_support.create_empty(servers, f"test_doctor_{os.getpid()}")
    extra = {"DATABASE_URL": url, "REDIS_URL": servers.redis_url}
    found = answer("doctor", "--data", str(folder), "--port", "0", code=1, extra=extra)
    states = {check["check"]: check["state"] for check in found["checks"]}
    assert (states["postgresql"], states["migrations"], states["roles"]) == ("ok", "fail", "fail")
    ran = answer("migrate", "--data", str(folder), extra=extra)["migrations"]
    assert len(ran) > 3
    assert answer("migrate", "--data", str(folder), extra=extra)["migrations"] == []
    found = answer("doctor", "--data", str(folder), "--port", "0", extra=extra)
    assert found["healthy"] is True, found


def test_plugins_are_listed_begun_checked_and_built(folder: Path) -> None:
    assert {plugin["state"] for plugin in answer("plugin", "list")} == {"active"}
    made = answer("plugin", "new", "acme-mail", cwd=folder)
    assert made == {"id": "acme-mail", "folder": "penguin-hub-acme-mail"}
    checked = answer("plugin", "check", made["folder"], cwd=folder)
    assert checked == {"id": "acme-mail", "ok": True, "problems": []}
    again = hubs.run("plugin", "new", "acme-mail", cwd=folder)
    assert again.returncode == 1
    assert "--into" in again.stderr
    manifest = folder / made["folder"] / "penguin_hub_acme_mail" / "plugin.toml"
    manifest.write_text(manifest.read_text().replace('category = "email"', 'category = "nonsense"'))
    checked = answer("plugin", "check", made["folder"], cwd=folder, code=1)
    assert checked["ok"] is False
    assert any("nonsense" in problem for problem in checked["problems"])


def test_the_api_describes_itself(folder: Path) -> None:
    document = json.loads(hubs.run("openapi").stdout)
    assert document["openapi"].startswith("3.1")
    assert "/api/v1/contacts" in document["paths"]
    file = folder / "openapi.json"
    assert answer("openapi", "--out", str(file)) == {"written": str(file)}
    assert json.loads(file.read_text()) == document


def test_after_the_hub_has_stopped_commands_say_so(folder: Path) -> None:
    done = hubs.run("keys", "list", "--data", str(folder / "hub"))
    assert done.returncode == 1
    assert "no hub is running" in done.stderr
    assert "penguin up" in done.stderr


def test_several_api_processes_share_a_port(hub: Hub, folder: Path) -> None:
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        hubs.command("serve", "--data", str(hub.data), "--port", "0", "--workers", "2"),
        env=hubs.environment(_urls(hub)),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        ports = set()
        while len(ports) < 2:
            line = process.stderr.readline()
            assert line, "ended before it listened"
            log.write(line)
            if '"listening"' in line:
                ports.add((json.loads(line)["port"], len(ports)))
        assert len({port for port, _ in ports}) == 1
        url = f"http://127.0.0.1:{next(iter(ports))[0]}"
        workers = psutil.Process(process.pid).children()
        assert len(workers) == 2
        assert status(url, hub.live_key) == 200
        workers[0].kill()
        while '"started again"' not in process.stderr.readline():
            pass
        assert status(url, hub.live_key) == 200
    finally:
        process.terminate()
        process.communicate(timeout=30)
        log.close()
    assert process.returncode == 0


def test_files_with_secrets_are_private(hub: Hub) -> None:
    for file in ("credentials.json", "run.json", "keys/kek.json"):
        path = hub.data / file
        if path.exists():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _urls(hub: Hub) -> dict[str, str]:
    return server_support.given_to_hub(hub.data)


@pytest.mark.parametrize("arguments", [("serve",), ("worker",)])
def test_a_process_without_servers_says_so(folder: Path, arguments: tuple[str, ...]) -> None:
    done = hubs.run(*arguments, "--data", str(folder))
    assert done.returncode == 1
    assert "no hub is running" in done.stderr
    nowhere = {"DATABASE_URL": "postgresql://u:secret-word@127.0.0.1:1/d", "REDIS_URL": "redis://127.0.0.1:1"}
    port = ("--port", "0") if arguments == ("serve",) else ()
    done = hubs.run(*arguments, *port, "--data", str(folder), extra=nowhere)
    assert done.returncode == 1
    assert "penguin: PostgreSQL at 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret-word" not in done.stderr
