"""What the doctor says of a machine."""

import os
import resource
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from penguin_hub.doctor import machine


def test_python_is_new_enough() -> None:
    assert machine.python().state == "ok"


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "sys", SimpleNamespace(version_info=(3, 10)))
    assert machine.python().state == "fail"


@pytest.mark.parametrize(("soft", "state"), [(1024, "warn"), (4096, "ok"), (resource.RLIM_INFINITY, "ok")])
def test_few_file_descriptors_are_a_warning(monkeypatch: pytest.MonkeyPatch, soft: int, state: str) -> None:
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    assert machine.descriptors().state == state


def test_a_folder_that_is_not_there_can_be_made(tmp_path: Path) -> None:
    assert machine.folder(tmp_path / "new").state == "ok"


def test_a_private_folder_is_right(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "credentials.json").touch(0o600)
    assert machine.folder(tmp_path).state == "ok"


def test_a_folder_that_others_may_enter_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    found = machine.folder(tmp_path)
    assert found.state == "warn"
    assert found.advice == f"chmod 700 {tmp_path}"


def test_secrets_that_others_may_read_fail(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "credentials.json").touch(0o644)
    (tmp_path / "credentials.json").chmod(0o644)
    found = machine.folder(tmp_path)
    assert found.state == "fail"
    assert "credentials.json" in found.what


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert machine.folder(tmp_path / "file").state == "fail"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_made_fails(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert machine.folder(tmp_path / "new").state == "fail"


@pytest.mark.parametrize(("free", "state"), [(10, "fail"), (2**30, "warn"), (2**40, "ok")])
def test_a_full_disk_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert machine.disk(tmp_path / "not" / "there").state == state


def test_a_port_in_use_fails_unless_it_is_this_hubs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert machine.port("127.0.0.1", port, tmp_path).state == "fail"
        (tmp_path / "run.json").touch()
        assert machine.port("127.0.0.1", port, tmp_path).state == "ok"
    assert machine.port("127.0.0.1", port, tmp_path).state == "ok"
