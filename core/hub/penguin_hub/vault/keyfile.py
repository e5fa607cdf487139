"""The file of key-encryption keys: what the embedded store cannot be read without.

It holds several keys; the first is active (wraps), the others only unwrap. It lies outside the database on purpose, so
that neither a dump nor a backup of the database opens a secret. Whoever else could read or replace it owns every
secret, so a file that is not this user's alone is refused, never repaired.
"""

import base64
import os
import secrets
import stat
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from penguin_hub.platform import clock, ids
from penguin_hub.vault.errors import KeyFileRefused

KEY_BYTES: Final = 32
_MAX_BYTES: Final = 64 * 1024


class Kek(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key-encryption key."""

    id: str
    created_at: datetime
    key: str
    """32 bytes in base64."""

    def __repr__(self) -> str:
        return f"Kek({self.id})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("id", self.id)]

    @property
    def raw(self) -> bytes:
        return base64.b64decode(self.key, validate=True)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[Kek, ...]


def new_kek() -> Kek:
    return Kek(ids.new("kek"), clock.now(), base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())


def read(path: Path) -> tuple[Kek, ...]:
    """The keys, the active one first. Raises FileNotFoundError and KeyFileRefused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = "is a symbolic link" if path.is_symlink() else f"cannot be opened ({error.strerror})"
        raise KeyFileRefused(f"The key file {path} {reason}: it must be a regular file, mode 0600.") from None
    try:
        _refuse_unsafe(path, os.fstat(descriptor))
        with os.fdopen(os.dup(descriptor), "rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    return _parsed(path, raw)


def create(path: Path, keys: tuple[Kek, ...]) -> None:
    """Write a file that does not exist yet. Raises FileExistsError when somebody else was first, KeyFileRefused."""
    try:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)
        temporary = _written(path, keys)
        try:
            os.link(temporary, path)
        finally:
            temporary.unlink()
        _sync_folder(path)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.parent.is_dir():
            raise
        raise KeyFileRefused(f"The key file {path} cannot be written ({error.strerror}).") from None


def replace(path: Path, keys: tuple[Kek, ...]) -> None:
    """Put other keys into the file, at once or not at all. Raises KeyFileRefused."""
    try:
        os.replace(_written(path, keys), path)
        _sync_folder(path)
    except OSError as error:
        raise KeyFileRefused(f"The key file {path} cannot be written ({error.strerror}).") from None


def _refuse_unsafe(path: Path, found: os.stat_result) -> None:
    problems = {
        "is not a regular file": not stat.S_ISREG(found.st_mode),
        "belongs to another user": found.st_uid != os.geteuid(),
        f"has mode {stat.S_IMODE(found.st_mode):04o}: others may use it": bool(found.st_mode & 0o077),
    }
    for problem, is_so in problems.items():
        if is_so:
            raise KeyFileRefused(
                f"The key file {path} {problem}. It opens every secret, so the hub does not start: make it a "
                "regular file of this user with mode 0600, and rotate the key if somebody may have read it."
            )


def _parsed(path: Path, raw: bytes) -> tuple[Kek, ...]:
    try:
        keys = msgspec.json.decode(raw, type=_File).keys
        whole = (
            bool(keys)
            and len(raw) <= _MAX_BYTES
            and all(ids.is_id(kek.id, "kek") and len(kek.raw) == KEY_BYTES for kek in keys)
        )
    except (msgspec.DecodeError, ValueError):
        whole = False
    if not whole or len({kek.id for kek in keys}) != len(keys):
        raise KeyFileRefused(f"The key file {path} is damaged: put back the copy you keep of it.") from None
    return keys


def _written(path: Path, keys: tuple[Kek, ...]) -> Path:
    """A temporary file beside `path`, on the disk for sure."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(_File(keys)), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink()
        raise
    return temporary


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
