"""Who the embedded servers run as, and how they reach folders that this account could not reach by path.

PostgreSQL refuses to run as root. Started by root, the servers run as `nobody`, or as whoever owns the data already.
The data folder usually lies below folders that only root may enter (`/root`, a 0700 data folder). Rather than opening
those to everybody, the folder is opened by root and handed over as a file descriptor; `/proc/self/fd/N` then leads
straight to it (see proc_pid_fd(5)), whatever lies above.
"""

import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from penguin_hub.platform.embedded.errors import StartupError

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Account(NamedTuple):
    uid: int
    gid: int


class Handed(NamedTuple):
    """Folders as a server may name them, and the descriptors it must inherit for that."""

    paths: tuple[str, ...]
    descriptors: tuple[int, ...]


def for_folder(folder: Path) -> Account | None:
    """The account that owns, or shall own, a server's data. None: this process's own, which is not root.

    Raises StartupError when the data belongs to somebody this process cannot become.
    """
    owner = folder.stat() if folder.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise StartupError(f"{folder} belongs to {_name(owner.st_uid)}: start the hub as that user, or as root.")
        return None
    if sys.platform != "linux":
        raise StartupError("PostgreSQL does not run as root: start the hub as an ordinary user.")
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise StartupError("This system has no user `nobody`: start the hub as an ordinary user.") from error
    return Account(nobody.pw_uid, nobody.pw_gid)


def make_folder(folder: Path, account: Account | None) -> None:
    """A folder for that account alone: mode 0700."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(folder, account.uid, account.gid)


@contextmanager
def handed_over(account: Account | None, *folders: Path) -> Iterator[Handed]:
    """The folders in a form that a process of that account can use, started while the block lasts."""
    if account is None:
        yield Handed(tuple(map(str, folders)), ())
        return
    descriptors = []
    try:
        for folder in folders:
            descriptors.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
        yield Handed(tuple(f"/proc/self/fd/{number}" for number in descriptors), tuple(descriptors))
    finally:
        for number in descriptors:
            os.close(number)


def can_reach(account: Account, path: Path) -> bool:
    """Whether the account may enter every folder above `path` and read it, by the ordinary permission bits."""

    def allowed(part: Path, wanted: int) -> bool:
        found = part.stat()
        if found.st_uid == account.uid:
            return found.st_mode >> 6 & wanted == wanted
        if found.st_gid == account.gid:
            return found.st_mode >> 3 & wanted == wanted
        return found.st_mode & wanted == wanted

    real = path.resolve()
    return all(allowed(parent, 0o1) for parent in real.parents) and allowed(real, 0o5)


def die_with_parent(how: signal.Signals) -> Callable[[], None] | None:
    """For `preexec_fn`: the kernel sends `how` to the child when the thread that started it ends, however it ends.

    Linux only; None elsewhere (there, what is left over is ended at the next start).
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, int(how), 0, 0, 0)
        if os.getppid() != parent:  # the parent ended between fork and prctl
            os._exit(1)

    return arrange


def _name(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user id {uid}"
