"""Which plugins are installed, from the metadata of distributions alone: nothing of a plugin is imported here.

Decided before importing: whether two distributions claim one id, whether what a plugin needs is there in the versions
it asks for, and whether it was made for this hub. The order in which folders are read decides nothing.
"""

import importlib.metadata
import importlib.util
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from email.message import Message
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Final, cast

import msgspec
import structlog
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from penguin_hub_sdk.hooks import ENTRY_POINTS

from penguin_hub.plugins.schemas import Failure

log = structlog.get_logger(__name__)

ID: Final = re.compile(r"[a-z][a-z0-9-]{1,39}")
MODULE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)

PUBLISHER: Final = ("Author", "Author-email", "Maintainer", "Maintainer-email")
"""Fields of a distribution's metadata that say who made it, the plainest first."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One entry point: what a distribution says it brings."""

    id: str
    module: str
    distribution: str
    version: str
    publisher: str | None = None
    readme: str | None = None
    failure: Failure | None = None
    """Why it is not to be imported."""

    @property
    def package(self) -> str:
        """The top-level package, by which its code is recognised in a stack."""
        return self.module.partition(".")[0]


def find(path: Sequence[str] | None = None) -> list[Candidate]:
    """All candidates in the order of their ids. `path` is where to look; None means `sys.path`."""
    claims: dict[str, list[tuple[Distribution, EntryPoint]]] = defaultdict(list)
    for distribution in _distributions(path):
        for entry in _entries(distribution):
            claims[entry.name].append((distribution, entry))
    found = []
    for plugin_id, claimed in sorted(claims.items()):
        owners = [claim for claim in claimed if _name(claim[0]) == f"penguin-hub-{plugin_id}"]
        keeps = claimed[0] if len(claimed) == 1 else owners[0] if len(owners) == 1 else None
        rivals = " and ".join(sorted({f"{_name(d)} {_version(d)}" for d, _ in claimed}))
        for claim in claimed:
            refusal = (
                None if claim is keeps else Failure("duplicate", f"The id is claimed by {rivals}: remove all but one.")
            )
            found.append(_candidate(*claim, refusal))
        if len(claimed) > 1:
            log.error("plugin_id_claimed_twice", plugin=plugin_id, by=rivals)
    return found


def hub_version() -> str:
    """The version of the contract between hub and plugin, which `requires_hub` speaks of."""
    return importlib.metadata.version("penguin-hub-sdk")


def incompatible(requires_hub: str) -> Failure | None:
    """Why a plugin made for `requires_hub` cannot run here; None when it can."""
    try:
        wanted = SpecifierSet(requires_hub)
    except InvalidSpecifier:
        return Failure("contract", f"requires_hub is {requires_hub[:80]!r}, which is not a version range.")
    if wanted.contains(hub_version(), prereleases=True):
        return None
    return Failure(
        "version", f"It needs a hub {requires_hub[:80]}; this is {hub_version()}.", requires_hub=requires_hub
    )


def _distributions(path: Sequence[str] | None) -> Iterable[Distribution]:
    """Every installed distribution. Of one installed in two folders the first counts, as in Python's own imports; of
    one that is twice in the same folder (an upgrade that broke) nobody can say which code is there, so both count."""
    folders = list(dict.fromkeys(os.path.realpath(folder or ".") for folder in (sys.path if path is None else path)))
    folder_of: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=folders):
        try:
            name, folder = _name(distribution), str(distribution.locate_file(""))
        except Exception as error:
            log.warning("distribution_unreadable", reason=repr(error))
            continue
        if folder_of.setdefault(name, folder) == folder:
            yield distribution


def _entries(distribution: Distribution) -> list[EntryPoint]:
    try:
        return [entry for entry in distribution.entry_points if entry.group == ENTRY_POINTS]
    except Exception as error:
        log.warning("entry_points_unreadable", distribution=_name(distribution), reason=repr(error))
        return []


def _candidate(distribution: Distribution, entry: EntryPoint, refusal: Failure | None) -> Candidate:
    metadata = cast("Message", distribution.metadata)
    readme = metadata.get_payload()
    return Candidate(
        id=entry.name,
        module=entry.value,
        distribution=_name(distribution),
        version=_version(distribution),
        publisher=next((value for field in PUBLISHER if (value := metadata.get(field))), None),
        readme=readme if isinstance(readme, str) and readme.strip() else None,
        failure=refusal or _malformed(entry) or _unmet(distribution) or _made_for_another_hub(entry),
    )


def _malformed(entry: EntryPoint) -> Failure | None:
    if not ID.fullmatch(entry.name):
        return Failure("contract", "The entry point's name is not a plugin id: lower-case letters, digits and hyphens.")
    if not MODULE.fullmatch(entry.value):
        return Failure("contract", "The entry point's value must be a module, such as `penguin_hub_acme`.")
    return None


def _unmet(distribution: Distribution) -> Failure | None:
    for line in distribution.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            return Failure("dependency", f"Its metadata asks for {line[:120]!r}, which is not a requirement.")
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            present = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            return Failure("dependency", f"It needs {requirement.name}{requirement.specifier}, which is not installed.")
        if not requirement.specifier.contains(present, prereleases=True):
            return Failure(
                "dependency",
                f"It needs {requirement.name}{requirement.specifier}; installed is {requirement.name} {present}.",
            )
    return None


class _Range(msgspec.Struct):
    """The one line of a manifest that is read before the rest is believed."""

    requires_hub: str = ">=0"


def _made_for_another_hub(entry: EntryPoint) -> Failure | None:
    """Read from `plugin.toml` without importing: a plugin for another contract could not be imported to tell us."""
    try:
        spec = importlib.util.find_spec(entry.value.partition(".")[0])
        folders = list((spec.submodule_search_locations if spec else None) or ())
        raw = (Path(folders[0]) / "plugin.toml").read_bytes()
        wanted = msgspec.toml.decode(raw, type=_Range).requires_hub
    except (IndexError, OSError, ValueError, ImportError, msgspec.MsgspecError):
        return None  # Whatever is wrong here shows when it is imported, with a traceback to go by.
    return incompatible(wanted)


def _name(distribution: Distribution) -> str:
    return canonicalize_name(distribution.metadata["Name"])


def _version(distribution: Distribution) -> str:
    return distribution.metadata["Version"] or "0"
