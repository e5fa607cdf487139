"""The data folder of a hub: who may use it, what is kept in it, and where its sockets are.

DIR/                0700
  hub.lock          held by the running hub; its process id inside
  credentials.json  0600: passwords of the embedded servers, keys and login of the sample tenant
  run.json          0600: where the running servers are (see settings.load)
  postgres/ valkey/ the servers' data
  postgres.log valkey.log
  run/              sockets (elsewhere when DIR is too deep for a socket's path)
"""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import IO

import msgspec

from penguin_hub.platform.embedded import account
from penguin_hub.platform.embedded.errors import StartupError

SOCKET_PATH_BYTES = 107
"""sun_path holds 108 bytes and ends with NUL: unix(7)."""
LONGEST_SOCKET = "/.s.PGSQL.5432"
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")
"""Paths that need no escape in a connection URL (a comma would even split it in two hosts)."""
LEAST_FREE_BYTES = 200 * 2**20


class Sample(msgspec.Struct, frozen=True):
    """The tenant that the first `penguin up` makes."""

    tenant: str
    workspace: str
    live_key: str
    test_key: str
    email: str
    password: str


class Credentials(msgspec.Struct, frozen=True):
    postgres_password: str
    valkey_password: str
    sample: Sample | None = None

    def __repr__(self) -> str:
        return "Credentials()"


class DataFolder:
    """One hub's folder. `prepare` and `lock` come first."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: IO[str] | None = None

    def prepare(self) -> None:
        """Make the folder and see that it can be written. Raises StartupError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            raise StartupError(f"{self.path} is a file: choose another folder with --data.") from error
        except OSError as error:
            raise StartupError(f"{self.path} cannot be made ({error.strerror}): choose another with --data.") from error
        try:
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise StartupError(
                f"{self.path} cannot be written ({error.strerror}): give this user the right to, or choose another "
                "folder with --data."
            ) from error
        free = shutil.disk_usage(self.path).free
        if free < LEAST_FREE_BYTES:
            raise StartupError(
                f"The disk of {self.path} is full ({free // 2**20} MiB free): free at least "
                f"{LEAST_FREE_BYTES // 2**20} MiB, or choose another folder with --data."
            )

    def lock(self) -> None:
        """Be the only hub on this folder until this process ends. Raises StartupError naming the other one."""
        # Opened without truncation: the text belongs to the holder until the lock is ours.
        handle = os.fdopen(os.open(self.path / "hub.lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise StartupError(
                f"A hub is already running on {self.path} (process {holder}): stop it first, or choose another folder "
                "with --data."
            ) from None
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        self._lock = handle

    @property
    def is_locked(self) -> bool:
        """Whether this process is the hub of the folder."""
        return self._lock is not None

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def credentials(self) -> Credentials:
        """What `credentials.json` holds; made at the first start. Raises StartupError when it is lost or damaged."""
        file = self.path / "credentials.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=Credentials)
        except FileNotFoundError:
            if (self.path / "postgres").exists():
                raise StartupError(
                    f"{file} is missing although {self.path / 'postgres'} exists: put it back from a backup, or move "
                    "that folder away to begin anew."
                ) from None
        except PermissionError as error:
            raise StartupError(f"{file} cannot be read: start the hub as the user who owns it.") from error
        except msgspec.DecodeError as error:
            raise StartupError(f"{file} is damaged ({error}): put it back from a backup.") from error
        made = Credentials(secrets.token_urlsafe(24), secrets.token_urlsafe(24))
        self.keep(made)
        return made

    def keep(self, credentials: Credentials) -> None:
        self.write("credentials.json", msgspec.json.format(msgspec.json.encode(credentials), indent=2))

    def write(self, name: str, content: bytes) -> None:
        """Write a file of mode 0600 all at once: after a crash the old or the new content is there, never half."""
        descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.path / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def sockets(self, owner: account.Account | None) -> Path:
        """The folder for sockets, made if need be: 0700 and short enough."""
        run = self.path / "run"
        if len(os.fsencode(run)) + len(LONGEST_SOCKET) > SOCKET_PATH_BYTES or not PLAIN_PATH.fullmatch(str(run)):
            run = self._short_folder() / "run"
        account.make_folder(run, owner)
        return run

    def forget_sockets(self) -> None:
        """Remove the short folder, if one was used. For the end of a hub."""
        shutil.rmtree(self._short_path(), ignore_errors=True)

    def _short_path(self) -> Path:
        digest = hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"penguin-{digest}-{os.geteuid()}"

    def _short_folder(self) -> Path:
        return private_folder(self._short_path())


def private_folder(path: Path) -> Path:
    """A folder in a place that others may write to, surely ours. Raises StartupError when it is somebody else's."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if path.is_symlink() or not path.is_dir() or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise StartupError(f"{path} was made by somebody else: remove it, or set TMPDIR to a folder of your own.")
    return path
