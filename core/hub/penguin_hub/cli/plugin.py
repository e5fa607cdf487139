"""`penguin plugin`: for authors of plugins, and to see which are installed."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penguin_hub.cli import common

if TYPE_CHECKING:
    from penguin_hub.plugins.discovery import Candidate
    from penguin_hub.plugins.schemas import Loaded

_ID = re.compile(r"[a-z][a-z0-9-]{1,39}")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "plugin", help="list, start, check and build plugins", description="Plugins: installed ones, and your own."
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    listing = actions.add_parser(
        "list",
        help="list installed plugins",
        description="Every installed plugin, also those that do not load, and why.",
    )
    common.json_argument(listing)
    listing.set_defaults(run=_list)

    new = actions.add_parser(
        "new", help="begin a plugin", description="Makes a folder with a plugin that works and whose tests pass."
    )
    new.add_argument("id", help="the plugin's id, such as `acme`: lower-case letters, digits and hyphens")
    new.add_argument("--into", type=Path, metavar="DIR", help="the folder to make (default: ./penguin-hub-<id>)")
    common.json_argument(new)
    new.set_defaults(run=_new)

    check = actions.add_parser(
        "check",
        help="check a plugin as the hub and the test kit see it",
        description="Reads the manifest, loads the plugin as the hub does, and runs its tests with the kit's suites.",
    )
    build = actions.add_parser(
        "build",
        help="build a plugin's wheel",
        description="Builds the wheel that is deployed beside a hub, into DIR/dist.",
    )
    for action, run in ((check, _check), (build, _build)):
        action.add_argument("folder", type=Path, nargs="?", default=Path(), help="the plugin's folder (default: .)")
        common.json_argument(action)
        action.set_defaults(run=run)


def _list(arguments: argparse.Namespace) -> int:
    from penguin_hub.plugins.service import PluginsService  # noqa: PLC0415 -- see penguin_hub.cli

    common.log_to_stderr(quiet=True)
    found = PluginsService.load().all()
    if arguments.json:
        common.say_struct([plugin.view(operator=True) for plugin in found])
    else:
        rows = [(plugin.id, plugin.version, plugin.state, plugin.distribution, _why(plugin)) for plugin in found]
        common.say(common.table(("ID", "VERSION", "STATE", "DISTRIBUTION", ""), rows))
        for plugin in found:
            if plugin.failure is not None and plugin.failure.traceback:
                common.say(f"\n{plugin.id}:\n{plugin.failure.traceback}")
    return 0


def _new(arguments: argparse.Namespace) -> int:
    from penguin_hub_sdk import template_path  # noqa: PLC0415 -- see penguin_hub.cli

    if not _ID.fullmatch(arguments.id):
        raise _stop(f"{arguments.id!r} is not an id: 2 to 40 lower-case letters, digits and hyphens, a letter first.")
    folder = arguments.into or Path(f"penguin-hub-{arguments.id}")
    if folder.exists() and any(folder.iterdir()):
        raise _stop(f"{folder} is there already: choose another folder with --into.")
    copier = _tool("copier")
    copier.run_copy(str(template_path()), folder, data={"plugin": arguments.id}, defaults=True, quiet=True)
    if arguments.json:
        common.say_json({"id": arguments.id, "folder": str(folder)})
    else:
        common.say(f"{folder} is ready. Next: `penguin plugin check {folder}`.")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    folder = _plugin_folder(arguments.folder)
    candidate = _candidate(folder)
    with tempfile.TemporaryDirectory(prefix="penguin-plugin-") as metadata:
        path = [str(folder), *_metadata(candidate, Path(metadata))]
        loaded = _load(candidate, path)
        problems = [_why(loaded)] if loaded.failure is not None else []
        path += filter(None, [os.environ.get("PYTHONPATH")])
        tests = subprocess.run(
            (sys.executable, "-m", "pytest", "-q"),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            stdout=sys.stderr if arguments.json else None,
            check=False,
        )
    if tests.returncode != 0:
        problems.append(_PYTEST.get(tests.returncode, f"pytest ended with {tests.returncode}."))
    if arguments.json:
        common.say_json({"id": loaded.id, "ok": not problems, "problems": problems})
    else:
        for problem in problems:
            common.say(f"- {problem}")
        common.say(f"{loaded.id} {loaded.version}: {'not yet' if problems else 'ready'}.")
    return 1 if problems else 0


# https://docs.pytest.org/en/stable/reference/exit-codes.html
_PYTEST = {1: "Tests fail.", 5: "There are no tests: inherit the kit's suites (penguin_hub_sdk.testing)."}


def _build(arguments: argparse.Namespace) -> int:
    folder = _plugin_folder(arguments.folder)
    _tool("build")
    before = set(folder.glob("dist/*.whl"))
    done = subprocess.run(  # noqa: S603 -- our own interpreter
        (sys.executable, "-m", "build", "--wheel", str(folder)), stdout=sys.stderr, check=False
    )
    if done.returncode != 0:
        raise _stop("The wheel cannot be built; the lines above say why.")
    wheels = sorted(set(folder.glob("dist/*.whl")) - before or folder.glob("dist/*.whl"))
    if arguments.json:
        common.say_json({"wheels": [str(wheel) for wheel in wheels]})
    else:
        common.say("\n".join(map(str, wheels)))
    return 0


def _candidate(folder: Path) -> "Candidate":
    """What pyproject.toml says of the plugin, as the hub would find it once it is installed."""
    import tomllib  # noqa: PLC0415 -- see penguin_hub.cli

    from penguin_hub.plugins.discovery import Candidate  # noqa: PLC0415 -- see penguin_hub.cli

    file = folder / "pyproject.toml"
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        entries = dict(project["entry-points"]["penguin_hub.plugins"])
        name, version = str(project["name"]), str(project.get("version", "0"))
    except (KeyError, ValueError, TypeError) as error:
        raise _stop(f"{file} names no plugin ({type(error).__name__}: {error}): see docs/plugins.") from error
    if len(entries) != 1:
        raise _stop(f"{file} has {len(entries)} plugins: one distribution brings one.")
    ((plugin_id, module),) = entries.items()
    return Candidate(id=plugin_id, module=str(module), distribution=name, version=version)


def _metadata(candidate: "Candidate", folder: Path) -> list[str]:
    """Where the plugin's entry point is found although it is not installed; nothing when it is."""
    import importlib.metadata  # noqa: PLC0415 -- see penguin_hub.cli

    if any(entry.name == candidate.id for entry in importlib.metadata.entry_points(group="penguin_hub.plugins")):
        return []
    info = folder / f"{candidate.distribution.replace('-', '_')}-{candidate.version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {candidate.distribution}\nVersion: {candidate.version}\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(
        f"[penguin_hub.plugins]\n{candidate.id} = {candidate.module}\n", encoding="utf-8"
    )
    return [str(folder)]


def _load(candidate: "Candidate", path: list[str]) -> "Loaded":
    """The plugin as the hub would load it."""
    from penguin_hub.plugins.calls import Calls  # noqa: PLC0415 -- see penguin_hub.cli
    from penguin_hub.plugins.loader import Loader  # noqa: PLC0415 -- see penguin_hub.cli

    common.log_to_stderr(quiet=True)
    sys.path[:0] = path
    return Loader(Calls()).load(candidate)


def _plugin_folder(folder: Path) -> Path:
    if not (folder / "pyproject.toml").is_file():
        raise _stop(f"{folder.absolute()} is not a plugin's folder: it has no pyproject.toml.")
    return folder.absolute()


def _tool(name: str) -> Any:
    """A program that only authors of plugins need, so that the hub does not bring it."""
    import importlib  # noqa: PLC0415 -- see penguin_hub.cli

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _stop(f"This command needs `{name}`: install penguin-hub[authoring].") from error


def _why(plugin: "Loaded") -> str:
    """Why it does not load. The last line of its traceback is the error itself: this is the operator, or the author."""
    failure = plugin.failure
    if failure is None:
        return ""
    last = (failure.traceback or "").strip().rpartition("\n")[2]
    return f"{failure.reason}: {failure.detail}" + (f" ({last})" if last else "")


def _stop(sentence: str) -> Exception:
    from penguin_hub.platform.embedded.errors import StartupError  # noqa: PLC0415 -- see penguin_hub.cli

    return StartupError(sentence)
