"""A plugin of somebody who has never seen this repository: begun from the template in an empty folder, tested with the
SDK's wheel alone, built, laid beside a hub, and then a provider like every other.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from penguin_hub_sdk import signing
from support import hub as hubs
from support.hub import Hub
from support.providers import Recorder
from support.receiver import receiver, serving

ROOT = Path(__file__).parents[2]
SECRET = signing.new_secret()
HEARD = {"email.sent", "email.delivered"}


def uv() -> str:
    """The program that the README's first command brings; its cache makes an environment in a second."""
    beside = ROOT / ".tools/bin/uv"
    found = os.environ.get("UV") or (str(beside) if beside.is_file() else shutil.which("uv"))
    if found is None:
        pytest.skip("uv is not here: the README's first command brings it")
    return found


def run(*command: str | Path, cwd: Path) -> str:
    """In an environment that knows nothing of the workspace. Fails with everything the command said."""
    foreign = ("PYTEST", "PYTHON", "VIRTUAL", "UV_PROJECT", "PENGUIN_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def author(folder: Path) -> Path:
    """What the author does; gives the wheel."""
    plugin = folder / "acme"
    made = hubs.run("plugin", "new", "acme", "--into", str(plugin), cwd=folder)
    assert made.returncode == 0, made.stderr
    built = hubs.run("plugin", "build", str(plugin), "--json", cwd=folder)
    assert built.returncode == 0, built.stderr
    (wheel,) = json.loads(built.stdout)["wheels"]

    run(uv(), "build", "-q", "--system-certs", "--wheel", "--out-dir", folder / "sdk", ROOT / "core/sdk", cwd=folder)
    (sdk,) = (folder / "sdk").glob("*.whl")
    python = folder / "env/bin/python"
    run(uv(), "venv", "-q", "--python", sys.executable, folder / "env", cwd=folder)
    install = (uv(), "pip", "install", "-q", "--system-certs", "--python", python)
    run(*install, f"penguin-hub-sdk[testing] @ {sdk.as_uri()}", wheel, cwd=folder)
    installed = run(uv(), "pip", "list", "--python", python, cwd=folder)
    assert {line.split()[0] for line in installed.splitlines() if line.startswith("penguin")} == {
        "penguin-hub-sdk",
        "penguin-hub-acme",
    }
    said = run(python, "-m", "pytest", "-q", cwd=plugin)
    assert " passed" in said
    assert "skipped" not in said
    return Path(wheel)


def report(message: str, recipient: str) -> tuple[bytes, dict[str, str]]:
    """The provider's own webhook: the message was delivered."""
    at = datetime.now(UTC)
    body = {"id": "h-1", "type": "delivered", "at": at.isoformat(), "message": message, "recipient": recipient}
    raw = json.dumps(body).encode()
    return raw, signing.headers([signing.parse(SECRET)], "msg_1", int(time.time()), raw)


async def test_a_plugin_from_elsewhere_is_found_and_does_its_work(start_hub: Callable[..., Hub], folder: Path) -> None:
    wheel = author(folder)
    beside = folder / "beside"
    run(uv(), "pip", "install", "-q", "--target", beside, "--no-deps", "--no-index", wheel, cwd=folder)
    provider = Recorder(answers={"/v1/account": {}, "/v1/messages": {"id": "m-{n}"}})

    async with (
        serving(provider.take) as provider.url,
        receiver() as tenants_server,
        aiohttp.ClientSession() as session,
    ):
        overrides = json.dumps({"api.example.com": provider.url})
        hub = start_hub(extra={"PYTHONPATH": str(beside), "PENGUIN_PROVIDER_OVERRIDES": overrides})

        async def ask(method: str, path: str, body: Any = None) -> Any:
            headers = {"authorization": f"Bearer {hub.live_key}"}
            async with session.request(method, f"{hub.url}/api/v1{path}", json=body, headers=headers) as answer:
                text = await answer.text()
                assert answer.ok, f"{method} {path}: {answer.status} {text}"
                return json.loads(text)

        plugins = {plugin["id"]: plugin for plugin in (await ask("GET", "/plugins"))["data"]}
        assert len(plugins) > 1
        assert plugins["acme"]["name"] == "Acme"
        assert {"api_key", "webhook_secret"} <= plugins["acme"]["config_schema"]["properties"].keys()

        hook = await ask("POST", "/webhooks", {"url": tenants_server.url, "events": ["email.*"]})
        tenants_server.secret = hook["secret"]
        config = {"api_key": "a-key-of-acme", "webhook_secret": SECRET}
        connection = await ask("POST", "/connections", {"plugin": "acme", "config": config})
        (check,) = await provider.until("/v1/account", 1)
        assert check.headers["Authorization"] == "Bearer a-key-of-acme"

        message = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Hello", "text": "Hi"}
        await ask("POST", "/emails/send", {**message, "connection": connection["id"]})
        (sent,) = await provider.until("/v1/messages", 1)
        assert sent.json["subject"] == "Hello"
        await tenants_server.until(lambda heard: "email.sent" in heard.types)

        raw, headers = report("m-1", "ada@example.com")
        address = f"{hub.url}/api/webhooks/acme/{connection['id']}"
        async with session.post(address, data=raw, headers={**headers, "content-type": "application/json"}) as answer:
            assert answer.status == 200, await answer.text()
        await tenants_server.until(lambda heard: set(heard.types) >= HEARD)
        assert provider.problems == []
