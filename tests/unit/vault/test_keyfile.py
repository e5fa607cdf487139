"""The key file: atomic, private, or refused."""

import os
from pathlib import Path

import pytest
from penguin_hub.vault import keyfile
from penguin_hub.vault.errors import KeyFileRefused

KEYS = (keyfile.new_kek(), keyfile.new_kek())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "kek.json"


def test_it_is_private_and_comes_back_in_order(path: Path) -> None:
    old = os.umask(0)
    try:
        keyfile.create(path, KEYS)
    finally:
        os.umask(old)
    assert keyfile.read(path) == KEYS
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    keyfile.replace(path, KEYS[::-1])
    assert keyfile.read(path) == KEYS[::-1]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["kek.json"]


def test_an_existing_file_is_never_overwritten_by_a_new_one(path: Path) -> None:
    keyfile.create(path, KEYS)
    with pytest.raises(FileExistsError):
        keyfile.create(path, (keyfile.new_kek(),))
    assert keyfile.read(path) == KEYS
    assert [entry.name for entry in path.parent.iterdir()] == ["kek.json"]


def test_a_missing_file_is_told_from_a_bad_one(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        keyfile.read(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_only_the_owner_may_read_it(path: Path, mode: int) -> None:
    keyfile.create(path, KEYS)
    path.chmod(mode)
    assert keyfile.read(path) == KEYS


def test_what_is_no_regular_file_is_refused_and_not_waited_for(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyFileRefused, match="regular file"):
        keyfile.read(path)
    path.unlink()
    path.mkdir(0o700)
    with pytest.raises(KeyFileRefused, match="regular file"):
        keyfile.read(path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileRefused, match="cannot be written"):
        keyfile.create(tmp_path / "file" / "kek.json", KEYS)
    with pytest.raises(KeyFileRefused, match="cannot be written"):
        keyfile.replace(tmp_path / "nowhere" / "kek.json", KEYS)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-20],
        lambda raw: raw.replace(KEYS[0].key.encode(), KEYS[0].key[:20].encode()),
        lambda raw: raw.replace(KEYS[0].key.encode(), b"?" * 44),
        lambda raw: raw.replace(KEYS[0].id.encode(), KEYS[1].id.encode()),
        lambda raw: raw.replace(b'"keys"', b'"kees"'),
        lambda raw: raw + b" " * 70_000,
    ],
    ids=["cut", "short key", "no base64", "one id twice", "unknown member", "too long"],
)
def test_a_damaged_file_is_refused_without_its_keys_in_the_text(path: Path, damage: object) -> None:
    keyfile.create(path, KEYS)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]  # one of the functions above
    with pytest.raises(KeyFileRefused, match="damaged") as caught:
        keyfile.read(path)
    assert KEYS[1].key not in str(caught.value)
    assert caught.value.__cause__ is None
