"""What a plugin returns is what the contract promises, or the caller hears that the plugin is at fault."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from penguin_hub.plugins import contract, guard
from penguin_hub.plugins.errors import PluginCrashed, PluginMisbehaved
from penguin_hub.plugins.service import PluginsService
from penguin_hub_sdk.config import Secret
from penguin_hub_sdk.connectors import (
    Address,
    BatchEmailProvider,
    Destination,
    EmailProvider,
    Event,
    Message,
    Receipt,
)
from penguin_hub_sdk.context import Context
from penguin_hub_sdk.errors import PluginError, Rejected, SignatureInvalid
from penguin_hub_sdk.events import E
from penguin_hub_sdk.hooks import Plugin
from penguin_hub_sdk.webhooks import InboundRequest
from support.distributions import CONNECTOR, HEADER, HOOK, Site

MESSAGE = Message(id="eml_1", message_id="m@x", sender=Address("a@b.c"), to=(Address("d@e.f"),), subject="s", text="t")
REQUEST = InboundRequest(method="POST", url="http://x/", headers=(), body=b"{}", received_at=datetime.now(UTC))
EVENTS = """
from datetime import datetime, UTC
from itertools import count
from penguin_hub_sdk.events import E, ProviderEvent, Detail
from penguin_hub_sdk.webhooks import Answer


def event(**fields):
    usual = dict(type=E.DELIVERED, raw_type="delivered", at=datetime.now(UTC), key="k")
    return ProviderEvent(**{**usual, **fields})


class Verify:
    def verify(self, request, configs):
        VERIFY
"""

Make = Callable[..., Plugin[Any]]


@pytest.fixture
def make(plugins_folder: Site) -> Make:
    def made(
        send: str = 'return Receipt("x")', *, more: str = "", webhook: str = "", verify: str = "return None"
    ) -> Any:
        connector = CONNECTOR.replace('return Receipt("provider-" + message.id)', send) + more
        source = HEADER + EVENTS.replace("VERIFY", verify) + connector
        hook = HOOK.replace("connect=Connector", f"connect=Connector, webhook={webhook}") if webhook else HOOK
        plugins_folder.add("guarded", source + hook)
        plugin = PluginsService.load([str(plugins_folder.folder)]).get("guarded").plugin
        assert plugin is not None
        return plugin

    return made


def connector(plugin: Plugin[Any]) -> Any:
    config = plugin.config(api_key=Secret("canary-key"))
    unused: Any = None
    return plugin.connect(Context(connection="cnx_1", config=config, http=unused, net=unused, state=unused, log=unused))


@pytest.mark.parametrize(
    "send",
    [
        "return None",
        "return 'ok'",
        "return {'id': 'x'}",
        "return Receipt('')",
        "return Receipt('x' * 513)",
        "return Receipt(7)",
        "return Receipt('x', refused='d@e.f')",
        "return Receipt('x', refused=(Refusal('stranger@e.f', 'no'),))",
        "return Receipt('x', refused=(Refusal('d@e.f', None),))",
        "return Receipt('x', events=(1,))",
        "return type('Sly', (Receipt,), {})('x')",
        "return self",
    ],
)
async def test_a_receipt_that_is_none_is_the_plugins_fault(make: Make, send: str) -> None:
    with pytest.raises(PluginMisbehaved) as fault:
        await connector(make(send)).send(MESSAGE)
    assert fault.value.incident.startswith("inc_")


async def test_text_that_postgresql_cannot_hold_is_replaced(make: Make) -> None:
    receipt = await connector(make(r"return Receipt('a\0b', refused=(Refusal('d@e.f', 'x\ud800y'),))")).send(MESSAGE)
    assert receipt == Receipt("a\N{REPLACEMENT CHARACTER}b", receipt.refused)
    assert receipt.refused[0].detail == "x?y"


async def test_a_secret_in_an_error_is_not_shown(make: Make) -> None:
    send = "raise errors.Rejected('bad key ' + self.ctx.config.api_key.reveal(), code='canary-key')"
    with pytest.raises(Rejected) as refused:
        await connector(make(send)).send(MESSAGE)
    assert (refused.value.detail, refused.value.code) == ("bad key ***", "***")


async def test_a_connector_has_the_methods_that_the_plugin_has_and_no_others(make: Make) -> None:
    plain = connector(make())
    assert isinstance(plain, EmailProvider)
    assert not isinstance(plain, BatchEmailProvider | Destination)
    assert "canary" not in repr(plain)


async def test_a_connector_that_does_more_is_seen_to(make: Make) -> None:
    rich = connector(
        make(
            more="\n    async def send_batch(self, messages):\n        return []\n"
            "\n    async def deliver(self, event):\n        return None\n"
        )
    )
    assert isinstance(rich, BatchEmailProvider)
    assert isinstance(rich, Destination)
    await rich.deliver(Event(id="evt_1", type="x.y", timestamp="2026-01-01T00:00:00Z"))


@pytest.mark.parametrize("outcomes", ["[]", "None", "[Receipt('a')]", "[Receipt('a'), 'b']", "iter([1, 2])"])
async def test_a_batch_has_one_outcome_for_each_message(make: Make, outcomes: str) -> None:
    plugin = make(more=f"\n    async def send_batch(self, messages):\n        return {outcomes}\n")
    with pytest.raises(PluginMisbehaved):
        await connector(plugin).send_batch([MESSAGE, MESSAGE])


async def test_errors_in_a_batch_are_cleaned_like_those_that_are_raised(make: Make) -> None:
    more = (
        "\n    async def send_batch(self, messages):\n"
        "        return [Receipt('a'), errors.Rejected('canary-key is bad', retry_after='soon')]\n"
    )
    receipt, error = await connector(make(more=more)).send_batch([MESSAGE, MESSAGE])
    assert receipt == Receipt("a")
    assert isinstance(error, PluginError)
    assert (error.detail, error.retry_after) == ("*** is bad", None)


async def test_a_connector_that_cannot_be_made_is_a_crash(make: Make) -> None:
    plugin = make(more="\n\nConnector.__init__ = lambda self, ctx: exit(3)\n")
    with pytest.raises(PluginCrashed):
        connector(plugin)


@pytest.mark.parametrize(
    "normalise",
    [
        "lambda request: None",
        "lambda request: [1]",
        "lambda request: (event() for _ in count())",
        "lambda request: [event(key='')]",
        "lambda request: [event(at=datetime(2026, 1, 1))]",
        "lambda request: [event(type='email.delivered!')]",
        "lambda request: [event(detail={'reason': 1})]",
    ],
)
def test_events_that_are_none_are_the_plugins_fault(make: Make, normalise: str) -> None:
    plugin = make(webhook=f"Webhook(verify=Verify(), normalise={normalise})")
    assert plugin.webhook is not None
    with pytest.raises((PluginMisbehaved, PluginCrashed)):
        plugin.webhook.normalise(REQUEST)


def test_good_events_pass_as_they_are(make: Make) -> None:
    plugin = make(
        webhook="Webhook(verify=Verify(), normalise=lambda r: (event(detail=Detail(reason='x')) for _ in 'ab'))"
    )
    assert plugin.webhook is not None
    events = list(plugin.webhook.normalise(REQUEST))
    assert [(event.type, event.detail.reason) for event in events] == [(E.DELIVERED, "x")] * 2
    assert plugin.webhook.answer is None


@pytest.mark.parametrize(
    ("verify", "error"),
    [
        ("raise errors.SignatureInvalid('no')", SignatureInvalid),
        ("raise ValueError('x')", PluginCrashed),
        ("raise SystemExit", PluginCrashed),
        ("return True", PluginMisbehaved),
    ],
)
def test_a_verifier_lets_nothing_through_by_failing(make: Make, verify: str, error: type[Exception]) -> None:
    plugin = make(webhook="Webhook(verify=Verify(), normalise=list)", verify=verify)
    assert plugin.webhook is not None
    with pytest.raises(error):
        plugin.webhook.verify.verify(REQUEST, [])


@pytest.mark.parametrize(
    "answer", ["Answer(status=500)", "Answer(body=b'x' * 70000)", "Answer(content_type='a\\r\\nb: c')", "b'ok'"]
)
def test_an_answer_to_a_handshake_is_small_and_good(make: Make, answer: str) -> None:
    plugin = make(
        webhook=f"Webhook(verify=Verify(), normalise=list, answer=lambda r: {answer}, key=lambda r: 'k' * 600)"
    )
    assert plugin.webhook is not None
    assert plugin.webhook.answer is not None
    assert plugin.webhook.key is not None
    with pytest.raises(PluginMisbehaved):
        plugin.webhook.answer(REQUEST)
    with pytest.raises(PluginMisbehaved):
        plugin.webhook.key(REQUEST)


def test_every_method_of_the_contract_is_guarded() -> None:
    """A new Protocol method that is forgotten here would reach the plugin unguarded, or not at all."""
    assert guard._METHODS.keys() == contract.METHODS.keys()
