"""Every command explains itself, quickly, and says what is wrong in one sentence."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from penguin_hub.cli import GROUPS, common, main, problems
from penguin_hub.platform.embedded import StartupError
from penguin_hub.platform.errors import HubError, SettingsError

COMMANDS = (
    ("up",), ("serve",), ("worker",), ("migrate",), ("doctor",), ("openapi",), ("keys", "create"), ("keys", "list"),
    ("keys", "revoke"), ("tenants", "create"), ("tenants", "list"), ("plugin", "list"), ("plugin", "new"),
    ("plugin", "check"), ("plugin", "build"), ("listen",),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_explains_itself_and_takes_json(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--json" in text
    assert len(text.split("\n\n")) >= 3, "no description"


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom penguin_hub.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'litestar', 'piccolo', 'asyncpg', 'redis', 'granian', 'structlog', 'psutil'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_a_sentence_and_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(common, "log_to_stderr", lambda **_: None)
    assert main(["migrate", "--data", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("penguin: DATABASE_URL is not set and no hub is running")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StartupError("do this"), "do this"),
        (SettingsError("set that"), "set that"),
        (HubError("the detail"), "the detail"),
        (ExceptionGroup("tasks", [ExceptionGroup("inner", [StartupError("do this")])]), "do this"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
        (OSError(errno.EROFS, "Read-only"), "read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/some/file"), "/some/file"),
    ],
)
def test_errors_for_people_have_a_sentence(error: Exception, words: str) -> None:
    assert words in (problems.explain(error) or "")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        ExceptionGroup("two", [StartupError("a"), StartupError("b")]),
        OSError(errno.EIO, "I/O"),
        TypeError("y"),
    ],
)
def test_faults_of_ours_keep_their_trace(error: Exception) -> None:
    assert problems.explain(error) is None


def test_an_interrupted_command_ends_as_shells_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    doctor = next(group for group in GROUPS if group.__name__.endswith(".doctor"))
    monkeypatch.setattr(doctor, "_run", interrupted)
    assert main(["doctor"]) == 130


def test_a_table_lines_up() -> None:
    assert common.table(("ID", "NAME"), [("a", "long name"), ("bbbb", None)]) == "ID    NAME\na     long name\nbbbb"
