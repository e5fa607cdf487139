"""A plugin rendered from the template is complete: green with nothing but the SDK's wheel, and it can be updated."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import copier
import penguin_hub_sdk
import pytest

REPOSITORY = Path(__file__).parents[3]
ANSWERS = {"plugin": "acme-mail"}


def run(*command: str | Path, cwd: Path) -> str:
    """Raises with everything the command said."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON", "VIRTUAL"))
    }
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def render(destination: Path, source: Path | None = None) -> Path:
    template = source or penguin_hub_sdk.template_path()
    copier.run_copy(str(template), destination, data=ANSWERS, defaults=True, quiet=True)
    return destination


def test_it_renders_a_small_plugin(tmp_path: Path) -> None:
    folder = render(tmp_path / "acme-mail")
    written = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert {"pyproject.toml", "README.md", "quality.toml", "penguin_hub_acme_mail/__init__.py"} <= written
    assert {"penguin_hub_acme_mail/plugin.toml", "penguin_hub_acme_mail/py.typed"} <= written
    assert not any("{{" in name or name.endswith(".jinja") for name in written), written
    parts = [
        "penguin_hub_acme_mail/__init__.py",
        "penguin_hub_acme_mail/plugin.toml",
        "tests/test_penguin_hub_acme_mail.py",
    ]
    lines = [line for part in parts for line in (folder / part).read_text().splitlines() if line.strip()]
    assert len(lines) < 60, "manifest, module and test have grown"
    for file in written:
        assert "{{" not in (folder / file).read_text(encoding="utf-8"), file


@pytest.mark.parametrize("plugin", ["Acme", "1acme", "a", "acme_mail", "a/../b", ""])
def test_it_refuses_an_id_that_is_none(tmp_path: Path, plugin: str) -> None:
    with pytest.raises(ValueError, match=r"Lower-case|plugin"):
        copier.run_copy(
            str(penguin_hub_sdk.template_path()), tmp_path / "x", data={"plugin": plugin}, defaults=True, quiet=True
        )


def test_it_is_green_with_the_sdk_s_wheel_alone(tmp_path: Path) -> None:
    """In an environment of its own, so that nothing of the workspace can help; needs the package index, as installing
    the project does."""
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, REPOSITORY / "core" / "sdk", cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", f"{wheel}[testing]", cwd=tmp_path)
    packed = run(python, "-c", "import penguin_hub_sdk as sdk; print(sdk.template_path())", cwd=tmp_path).strip()
    assert Path(packed).is_relative_to(tmp_path / "venv"), "the template is not in the wheel"
    folder = render(tmp_path / "acme-mail", Path(packed))
    run(python, "-m", "pip", "install", "-q", folder, cwd=tmp_path)
    said = run(python, "-m", "pytest", "-q", cwd=folder)
    assert "passed" in said
    assert "failed" not in said
    assert "skipped" not in said


def test_it_can_be_updated_and_keeps_what_the_author_wrote(tmp_path: Path) -> None:
    """As when the template is taken from its own repository: `copier update` needs git on both sides."""
    template = tmp_path / "template"
    run("cp", "-r", REPOSITORY / "plugin-template", template, cwd=tmp_path)
    _commit(template, "v1.0.0")
    plugin = render(tmp_path / "acme-mail", template)
    readme = plugin / "README.md"
    readme.write_text(readme.read_text().replace("Sends mail", "Gladly sends mail"))
    _commit(plugin, None)
    limits = template / "quality.toml.jinja"
    limits.write_text(limits.read_text() + "# another rule\n")
    _commit(template, "v1.1.0")
    copier.run_update(plugin, defaults=True, overwrite=True, quiet=True)
    assert "# another rule" in (plugin / "quality.toml").read_text()
    assert "Gladly sends mail" in readme.read_text()
    assert "v1.1.0" in (plugin / ".copier-answers.yml").read_text()


def _commit(folder: Path, tag: str | None) -> None:
    if not (folder / ".git").exists():
        run("git", "init", "-q", cwd=folder)
    run("git", "add", "-A", cwd=folder)
    run("git", "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "x", cwd=folder)
    if tag:
        run("git", "tag", tag, cwd=folder)
