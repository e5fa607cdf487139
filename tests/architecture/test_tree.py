"""The top level is fixed, and the text of the project speaks of the project alone."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = {"pyproject.toml", "core", "plugins", "marketplace", "tests", "plugin-template", "docs", "README.md"}


def tracked() -> list[Path]:
    """The files git tracks; in an unpacked archive without git, every file that is there."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a git checkout, so there is no list of the project's files")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_the_top_level_holds_what_it_should_and_nothing_else() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in found if not name.startswith(".")} == TOP


def test_no_file_names_a_registry_or_a_path_of_somebodys_machine() -> None:
    # Written in pieces, so that this file does not name them either.
    hosts = [
        "py" + "pi.org",
        "python" + "hosted.",
        "npm" + "js.",
        "crates" + ".io",
        "proxy.go" + "lang",
        "repo1.ma" + "ven",
    ]
    pattern = re.compile("|".join(map(re.escape, hosts)) + r"|(?<![\w.-])/(wo" + r"rk|fa" + r"rm)/")
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        match = pattern.search(text)
        assert match is None, f"{path.relative_to(ROOT)} names {match[0] if match else ''}"


def test_no_lock_file_is_tracked() -> None:
    assert not [p for p in tracked() if p.name in {"uv.lock", "package-lock.json", "poetry.lock"}]


@pytest.mark.parametrize("plugin", sorted((ROOT / "plugins").iterdir()), ids=lambda path: path.name)
def test_a_plugin_folder_has_the_agreed_shape(plugin: Path) -> None:
    package = plugin / f"penguin_hub_{plugin.name.replace('-', '_')}"
    for name in ("pyproject.toml", "README.md", "quality.toml"):
        assert (plugin / name).is_file(), f"{plugin.name} lacks {name}"
    for name in ("__init__.py", "plugin.toml", "py.typed"):
        assert (package / name).is_file(), f"{plugin.name} lacks {package.name}/{name}"
    assert (plugin / "tests").is_dir()
