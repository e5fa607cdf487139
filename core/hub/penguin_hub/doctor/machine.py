"""The machine: Python, limits, the data folder, the port."""

import os
import platform
import resource
import shutil
import stat
import sys
from pathlib import Path

from penguin_hub.doctor.finding import Finding, fail, ok, warn
from penguin_hub.platform.embedded.errors import StartupError
from penguin_hub.runtime import ports

LEAST_PYTHON = (3, 11)
LEAST_DESCRIPTORS = 4096
FULL_BYTES = 200 * 2**20
SCARCE_BYTES = 2 * 2**30


def python() -> Finding:
    version = platform.python_version()
    if sys.version_info[:2] < LEAST_PYTHON:
        return fail("python", f"This is Python {version}.", "Use Python 3.11 or later.")
    return ok("python", f"Python {version} on {platform.system()} {platform.machine()}.")


def descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = f"{soft} files may be open at once in a process."
    if soft != resource.RLIM_INFINITY and soft < LEAST_DESCRIPTORS:
        advice = f"Allow at least {LEAST_DESCRIPTORS}: `ulimit -n {LEAST_DESCRIPTORS}` (the hard limit is {hard})."
        return warn("file descriptors", what, advice)
    return ok("file descriptors", what)


def folder(path: Path) -> Finding:
    """Mode and owner. A folder that is not there yet is made by `penguin up`."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return _parent(path)
    except OSError as error:
        return fail("data folder", f"{path} cannot be looked at ({error.strerror}).", "Check the folders above it.")
    exposed = [name for name in ("credentials.json", "run.json", "keys/kek.json") if _open_to_others(path / name)]
    table = (
        (not stat.S_ISDIR(found.st_mode), "is not a folder", "Choose another one with --data or PENGUIN_DATA."),
        (os.geteuid() not in (0, found.st_uid), "belongs to somebody else", "Start the hub as its owner."),
        (not os.access(path, os.R_OK | os.W_OK | os.X_OK), "cannot be written", f"chmod u+rwx {path}"),
        (exposed, f"holds {' and '.join(exposed)} readable by others", "chmod 600, and change the secrets in it."),
    )
    for wrong, what, advice in table:
        if wrong:
            return fail("data folder", f"{path} {what}.", advice)
    if found.st_mode & 0o077:
        return warn("data folder", f"{path} may be entered by others.", f"chmod 700 {path}")
    return ok("data folder", f"{path} is private.")


def disk(path: Path) -> Finding:
    place = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    what = f"{free / 2**30:.1f} GiB are free at {place}."
    if free < FULL_BYTES:
        return fail("disk", what, "Free some space: PostgreSQL stops when the disk is full.")
    if free < SCARCE_BYTES:
        return warn("disk", what, "Plan for more: messages and delivery logs grow.")
    return ok("disk", what)


def port(host: str, number: int, data: Path) -> Finding:
    try:
        ports.claim(host, number)
    except StartupError as error:
        if (data / "run.json").exists() and "in use" in str(error):
            return ok("port", f"Port {number} on {host} is in use, and a hub runs in this data folder.")
        return fail("port", f"Port {number} on {host} cannot be listened on.", str(error))
    return ok("port", f"Port {number} on {host} is free.")


def _parent(path: Path) -> Finding:
    place = next(parent for parent in path.parents if parent.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        return fail("data folder", f"{path} cannot be made in {place}.", "Choose another one with --data.")
    return ok("data folder", f"{path} is not there yet; `penguin up` makes it.")


def _open_to_others(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & 0o077)
    except OSError:
        return False
