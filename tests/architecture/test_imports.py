"""Who may import whom, as DESIGN says it; what import-linter cannot say is said here over the syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HUB = ROOT / "core/hub/penguin_hub"

# One importer of each heavy dependency: the module or folder that may, relative to the repository.
ONLY_IMPORTER = {
    "asyncpg": "core/hub/penguin_hub/platform/db.py",
    "redis": "core/hub/penguin_hub/platform/redis.py",
    "hvac": "core/hub/penguin_hub/vault/",
    "bcrypt": "core/hub/penguin_hub/keys/",
    "aiohttp": "core/hub/penguin_hub/delivery/client.py",
    "granian": "core/hub/penguin_hub/serve.py",
    "httpx": "core/sdk/penguin_hub_sdk/http.py",
}

OURS = sorted(p for p in ROOT.glob("core/**/*.py") if "/tests/" not in str(p)) + sorted(
    ROOT.glob("marketplace/penguin_hub_marketplace/**/*.py")
)
PLUGINS = sorted(path for path in (ROOT / "plugins").iterdir() if (path / "pyproject.toml").is_file())
ORDER = ("tables", "store", "service", "routes")


def imported(path: Path) -> Iterator[str]:
    """Every module a file imports, by its dotted name."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_the_sdk_and_itself_of_ours_and_nothing_else(plugin: Path) -> None:
    own = f"penguin_hub_{plugin.name.replace('-', '_')}"
    for path in plugin.rglob("*.py"):
        for name in imported(path):
            top = name.split(".")[0]
            assert not top.startswith("penguin_hub") or top in {"penguin_hub_sdk", own}, f"{path} imports {name}"


@pytest.mark.parametrize("library", ONLY_IMPORTER)
def test_a_heavy_dependency_has_one_importer(library: str) -> None:
    allowed = str(ROOT / ONLY_IMPORTER[library])
    found = [p for p in OURS if any(name.split(".")[0] == library for name in imported(p))]
    assert [str(path) for path in found if not str(path).startswith(allowed)] == []


def test_the_hub_names_no_plugin() -> None:
    names = {plugin.name for plugin in PLUGINS}
    for path in HUB.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in names, f"{path}:{node.lineno} names the plugin {node.value!r}"


def test_another_feature_calls_the_service_never_the_store() -> None:
    for path in HUB.rglob("*.py"):
        feature = path.relative_to(HUB).parts[0]
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "penguin_hub" and len(parts) >= 3 and parts[2] in {"store", "tables"}:
                assert parts[1] == feature, f"{path} reaches into {name}"


def test_inside_a_feature_imports_go_down_only() -> None:
    for path in HUB.rglob("*.py"):
        if path.stem not in ORDER:
            continue
        feature = path.relative_to(HUB).parts[0]
        for name in imported(path):
            parts = name.split(".")
            if parts[:2] == ["penguin_hub", feature] and len(parts) >= 3 and parts[2] in ORDER:
                assert ORDER.index(parts[2]) < ORDER.index(path.stem), f"{path} imports {name}"


def test_only_stores_and_the_platform_hold_sql() -> None:
    verbs = ("SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ")
    allowed = ("store", "schema", "db", "migrate")
    for path in HUB.rglob("*.py"):
        inside = path.relative_to(HUB).parts
        if inside[0] in {"migrations", "doctor", "cli"} or any(path.stem.startswith(word) for word in allowed):
            continue
        if any(part.startswith("store") for part in inside) or (inside[0], path.stem) == ("vault", "tables"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.lstrip()
                assert not text.startswith(verbs), f"{path}:{node.lineno} holds SQL"


def test_nothing_is_ever_set_for_a_database_session() -> None:
    """A session's setting outlives its transaction and would leak to the pool's next borrower."""
    for path in HUB.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "app.tenant" in node.value:
                assert "SET app" not in node.value, f"{path}:{node.lineno}"


def test_no_plugin_has_a_tests_package() -> None:
    """With importlib mode two `tests/__init__.py` silently lose one plugin's tests."""
    assert [str(p) for p in ROOT.glob("plugins/*/tests/__init__.py")] == []
