"""The suites catch what they are there for: a broken plugin fails, in the test that says why."""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import copier
import msgspec
import penguin_hub_sdk
import pytest
from penguin_hub_sdk import Bearer, Message, Plugin, ProviderEvent, Receipt, StandardWebhooks
from penguin_hub_sdk.testing import EmailProviderSuite, PluginSuite, Recorder, Reply, WebhookSuite, context, load
from penguin_hub_sdk.webhooks import InboundRequest

API = "https://api.example.com/v1"
PACKAGE = "penguin_hub_kitsample"
CONFIG = {"api_key": "test-api-key", "webhook_secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"}

Change = Callable[[Plugin[Any]], Plugin[Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Path]:
    """A plugin from the template, importable, and installed by its metadata alone."""
    made = tmp_path_factory.mktemp("kit") / "kitsample"
    template = str(penguin_hub_sdk.template_path())
    copier.run_copy(template, made, data={"plugin": "kitsample"}, defaults=True, quiet=True)
    metadata = made / f"{PACKAGE}-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: penguin-hub-kitsample\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(f"[penguin_hub.plugins]\nkitsample = {PACKAGE}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(made)
        patch.setenv("PYTHONPATH", str(made))
        yield made
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def suite(kind: type[Any], folder: Path, change: Change | None = None) -> Any:
    """A suite of the sample, or of what `change` makes of it."""
    good = load(PACKAGE)
    fixtures = folder / "tests" / "fixtures"
    members = {
        "package": PACKAGE,
        "config": CONFIG,
        "sent": Reply(json={"id": "m-1"}),
        "receipt": "m-1",
        "plugin": property(lambda _: change(good) if change else good),
        "fixtures": property(lambda _: fixtures),
        "folder": classmethod(lambda _: fixtures),
        "root": property(lambda _: folder),
    }
    return type("Suite", (kind,), members)()


def cases(one: Any) -> list[tuple[str, dict[str, Any]]]:
    """Every test of a suite with the arguments pytest would give it."""
    found = []
    for name, method in inspect.getmembers(one, inspect.ismethod):
        if name.startswith("test_"):
            calls: list[dict[str, Any]] = [{}]
            for mark in getattr(method, "pytestmark", ()):
                calls = [{**call, mark.args[0]: value} for call in calls for value in mark.args[1]]
            if "payload" in inspect.signature(method).parameters:
                calls = [{**call, "payload": file} for call in calls for file in one.payloads()]
            if "update_fixtures" in inspect.signature(method).parameters:
                calls = [{**call, "update_fixtures": False} for call in calls]
            found += [(name, call) for call in calls]
    return found


def failing(one: Any, only: str = "test_") -> set[str]:
    failed = set()
    for name, arguments in cases(one):
        if not name.startswith(only):
            continue
        try:
            getattr(one, name)(**arguments)
        except pytest.skip.Exception:
            pass
        except (Exception, pytest.fail.Exception):
            failed.add(name)
    return failed


@pytest.mark.parametrize("kind", [PluginSuite, EmailProviderSuite, WebhookSuite])
def test_the_sample_is_good(folder: Path, kind: type[Any]) -> None:
    one = suite(kind, folder)
    assert len(cases(one)) > 10
    assert failing(one) == set()


class Connector:
    """A connector to go wrong in one place at a time."""

    def __init__(self, ctx: Any) -> None:
        self.http, self.auth = ctx.http, Bearer(ctx.config.api_key)

    async def check(self) -> None:
        await self.http.get(f"{API}/account", auth=self.auth)

    async def send(self, message: Message) -> Receipt:
        answer = await self.http.post(f"{API}/messages", json=msgspec.to_builtins(message), auth=self.auth)
        return Receipt(answer.json(dict[str, str])["id"])


class Unchecked(Connector):
    async def check(self) -> None:
        await self.http.get(f"{API}/status")


class Silent(Connector):
    async def check(self) -> None:
        return None


class Anonymous(Connector):
    async def send(self, message: Message) -> Receipt:
        answer = await self.http.post(f"{API}/messages", json={"to": message.to[0].email}, auth=self.auth)
        return Receipt(answer.json(dict[str, str])["id"])


class Insistent(Connector):
    async def send(self, message: Message) -> Receipt:
        json_ = msgspec.to_builtins(message)
        answer = await self.http.post(f"{API}/messages", json=json_, auth=self.auth, retry=True)
        return Receipt(answer.json(dict[str, str])["id"])


class Trusting(Connector):
    async def send(self, message: Message) -> Receipt:
        answer = await self.http.post(f"{API}/messages", json=msgspec.to_builtins(message), auth=self.auth)
        return Receipt(json.loads(answer.body)["id"])


class Talkative(Connector):
    async def send(self, message: Message) -> Receipt:
        try:
            return await super().send(message)
        except penguin_hub_sdk.errors.PluginError as error:
            token = self.auth.token.reveal()
            raise type(error)(f"{token} was refused", status=error.status, retry_after=error.retry_after) from error


class Batching(Connector):
    async def send_batch(self, messages: Iterable[Message]) -> list[Receipt]:
        return [await self.send(message) for message in messages]


@pytest.mark.parametrize(
    ("connector", "expected"),
    [
        (Connector, set()),
        (Unchecked, {"test_check_depends_on_the_credential"}),
        (Silent, {"test_check_passes", "test_check_says_when_the_credential_is_refused"}),
        (Anonymous, {"test_send_gives_our_ids_along", "test_send_asks_what_was_recorded"}),
        (Insistent, {"test_send_is_not_repeated_when_the_answer_was_lost"}),
        (Trusting, {"test_send_survives_nonsense"}),
        (Talkative, {"test_send_statuses", "test_send_refused_is_not_repeated"}),
        (Batching, {"test_send_batch_gives_one_outcome_for_each_in_order"}),
    ],
)
def test_a_broken_connector(folder: Path, connector: type[Any], expected: set[str]) -> None:
    found = failing(suite(EmailProviderSuite, folder, lambda good: msgspec.structs.replace(good, connect=connector)))
    assert expected <= found
    assert expected or not found - {"test_send_survives_nonsense"}


class Lax(StandardWebhooks, frozen=True, kw_only=True):
    def verify(self, request: InboundRequest, configs: Any) -> None:
        return None


class Fragile(StandardWebhooks, frozen=True, kw_only=True):
    def verify(self, request: InboundRequest, configs: Any) -> None:
        json.loads(request.body)
        super().verify(request, configs)


def _eager(request: InboundRequest) -> list[ProviderEvent]:
    raw = json.loads(request.body)
    return [ProviderEvent(type=raw["type"], raw_type=raw["type"], at=raw["at"], key=raw["id"])]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"verify": Lax(secret="webhook_secret")},
            {"test_a_wrong_secret_is_refused_and_a_second_one_is_tried", "test_an_unsigned_request_is_refused",
             "test_old_and_early_requests_are_refused", "test_hostile_bodies"},
        ),
        ({"verify": Fragile(secret="webhook_secret")}, {"test_hostile_bodies"}),
        ({"normalise": _eager}, {"test_hostile_bodies", "test_payloads_with_anything_in_the_wrong_place"}),
        ({"normalise": lambda request: []}, {"test_a_payload_means_what_was_written_down"}),
        ({"key": lambda request: json.loads(request.body)["id"]}, {"test_hostile_bodies"}),
        ({"key": lambda request: str(id(request))}, {"test_a_redelivery_is_recognised"}),
    ],
)  # fmt: skip
def test_a_broken_webhook(folder: Path, change: dict[str, Any], expected: set[str]) -> None:
    def changed(good: Plugin[Any]) -> Plugin[Any]:
        assert good.webhook is not None
        return msgspec.structs.replace(good, webhook=msgspec.structs.replace(good.webhook, **change))

    assert expected <= failing(suite(WebhookSuite, folder, changed))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": "0.2.0"}, "test_the_entry_point_and_the_names"),
        ({"id": "other"}, "test_the_entry_point_and_the_names"),
        ({"hosts": ("*.com",)}, "test_hosts"),
        ({"hosts": ("{no_such_setting}",)}, "test_hosts"),
        ({"events": ("email.teleported",)}, "test_events"),
        ({"batch": 10}, "test_connecting_is_cheap_and_has_the_right_shape"),
    ],
)
def test_a_wrong_manifest(folder: Path, change: dict[str, Any], expected: str) -> None:
    def changed(good: Plugin[Any]) -> Plugin[Any]:
        return msgspec.structs.replace(good, manifest=msgspec.structs.replace(good.manifest, **change))

    assert expected in failing(suite(PluginSuite, folder, changed), expected)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (f"{PACKAGE}/extra.py", "import httpx", "test_the_world_is_reached_through_the_context"),
        (f"{PACKAGE}/extra.py", "from urllib import request", "test_the_world_is_reached_through_the_context"),
        (f"{PACKAGE}/extra.py", "from penguin_hub.platform import db", "test_the_world_is_reached_through_the_context"),
        (f"{PACKAGE}/extra.py", "import penguin_hub_other", "test_the_world_is_reached_through_the_context"),
        (f"{PACKAGE}/extra.py", "import os\nos.environ['X']", "test_the_world_is_reached_through_the_context"),
        ("README.md", "# Nothing", "test_the_readme"),
        ("quality.toml", "[rules]\n", "test_quality"),
        ("quality.toml", "rules = 1", "test_quality"),
    ],
)
def test_a_folder_that_breaks_a_rule(folder: Path, file: str, text: str, expected: str) -> None:
    target = folder / file
    before = target.read_bytes() if target.exists() else None
    target.write_text(text)
    try:
        with pytest.raises((AssertionError, msgspec.DecodeError)):
            getattr(suite(PluginSuite, folder), expected)()
    finally:
        target.unlink()
        if before is not None:
            target.write_bytes(before)


@pytest.mark.parametrize(
    "line", ["open('x.txt', 'w').close()", "import socket; socket.socket().connect_ex(('127.0.0.1', 1))",
             "import threading, time; threading.Thread(target=time.sleep, args=(1,)).start()",
             "import subprocess; subprocess.run(['true'])", "1 / 0"],
)  # fmt: skip
def test_a_module_that_acts_on_import(folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "penguin_hub_hasty"
    package.mkdir()
    (package / "__init__.py").write_text(f"{line}\ndef hub_plugin(): ...\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    one = suite(PluginSuite, folder)
    one.package = "penguin_hub_hasty"
    with pytest.raises(AssertionError):
        one.test_nothing_happens_on_import()


def test_the_recorder_insists_on_an_answer(folder: Path) -> None:
    recorder = Recorder().on("GET", f"{API}/account", Reply(json={}))
    connector = load(PACKAGE).connect(context(load(PACKAGE), CONFIG, recorder))
    asyncio.run(connector.check())
    assert recorder.request.path == "/v1/account"
    with pytest.raises(AssertionError, match="says no answer"):
        asyncio.run(connector.send(penguin_hub_sdk.testing.MINIMAL))  # type: ignore[attr-defined] # an EmailProvider
