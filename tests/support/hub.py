"""A real hub for tests: `penguin up --json` in a folder of its own, as a user would start it."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from penguin_hub.platform.embedded.account import die_with_parent

READY_SECONDS = 60.0
STOP_SECONDS = 40.0
# Of the caller's environment these must not reach a hub under test.
_NOT_INHERITED = ("DATABASE_URL", "REDIS_URL", "VAULT_", "PENGUIN_", "PYTHONDONTWRITEBYTECODE")
# Where nothing is compiled beforehand, each of the hub's processes would compile everything again.
_COMPILED = str(Path(__file__).parents[2] / ".pytest_cache" / "compiled")
_PARTS = {"serve": "api", "worker": "worker"}


class NotReady(Exception):
    """The hub ended, or took too long; the text is what it said."""


@dataclass
class Hub:
    data: Path
    process: subprocess.Popen[str]
    log: Path
    ready: dict[str, Any]
    """What it printed."""
    ready_after: float
    """Seconds."""

    @property
    def url(self) -> str:
        return str(self.ready["url"])

    @property
    def tenant(self) -> str:
        return str(self.ready["tenant"])

    @property
    def workspace(self) -> str:
        return str(self.ready["workspace"])

    @property
    def live_key(self) -> str:
        return str(self.ready["live_key"])

    @property
    def test_key(self) -> str:
        return str(self.ready["test_key"])

    def pids(self) -> dict[str, int]:
        """The process ids of its parts: api, worker, postgres, valkey."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            try:
                words = child.cmdline()
            except psutil.Error:
                continue
            # Between fork and exec a child still shows the command of its parent.
            part = _PARTS.get(words[words.index("penguin_hub.cli") + 1]) if "penguin_hub.cli" in words else None
            if part is not None:
                found[part] = child.pid
            elif child.name() in ("postgres", "valkey-server"):
                found[child.name().removesuffix("-server")] = child.pid
        return found

    def family(self) -> list[psutil.Process]:
        """It and everything below it."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def text(self) -> str:
        """What it logged."""
        return self.log.read_text()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit code."""
        self.process.send_signal(how)
        return self.process.wait(STOP_SECONDS)


def command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "penguin_hub.cli", *arguments)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a hub under test sees: nothing of the caller's settings, and receivers on this machine allowed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    own = {"PENGUIN_DESTINATION_ALLOW": "127.0.0.1/32", "PYTHONPYCACHEPREFIX": _COMPILED}
    return {**inherited, **own, **(extra or {})}


def spawn(
    data: Path, log: Path, *, port: int = 0, extra: Mapping[str, str] | None = None, as_json: bool = True
) -> subprocess.Popen[str]:
    """Start `penguin up`, and do not wait. To be called in the main thread: the hub ends when the thread does."""
    arguments = ["up", "--data", str(data), "--port", str(port)] + (["--json"] if as_json else [])
    with log.open("a") as errors:
        return subprocess.Popen(
            command(*arguments),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(extra),
            cwd=data.parent,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 -- a killed test run leaves no hub behind
        )


def start(data: Path, *, port: int = 0, extra: Mapping[str, str] | None = None) -> Hub:
    """Start one and wait until it says that it is ready. Raises NotReady."""
    began = time.monotonic()
    log = data.with_name(f"{data.name}.log")
    process = spawn(data, log, port=port, extra=extra)
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
    line = process.stdout.readline() if readable else ""
    if not line:
        process.terminate()
        process.communicate(timeout=STOP_SECONDS)
        raise NotReady(f"exit {process.returncode}: {log.read_text()[-8000:]}")
    return Hub(data, process, log, json.loads(line), time.monotonic() - began)


@contextmanager
def running(data: Path, *, port: int = 0, extra: Mapping[str, str] | None = None) -> Iterator[Hub]:
    hub = start(data, port=port, extra=extra)
    try:
        yield hub
    finally:
        close(hub)


def close(hub: Hub) -> None:
    """End it whatever state it is in."""
    if hub.process.poll() is None:
        hub.stop()
    if hub.process.stdout is not None:
        hub.process.stdout.close()


def run(
    *arguments: str, extra: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """One `penguin` command to its end."""
    return subprocess.run(
        command(*arguments), env=environment(extra), cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
