"""The test kit: suites that a plugin's tests inherit, and what they are made of.

    from penguin_hub_sdk.testing import EmailProviderSuite, PluginSuite, Reply, WebhookSuite

    class Acme:
        package = "penguin_hub_acme"
        config = {"api_key": "key", "signing_secret": "secret"}

    class TestPlugin(Acme, PluginSuite): ...

    class TestEmail(Acme, EmailProviderSuite):
        sent = Reply(json={"id": "m-1"})
        receipt = "m-1"

    class TestWebhook(Acme, WebhookSuite): ...

No test reaches the network. `pytest --update-fixtures` writes what the code does now into `tests/fixtures`: read the
difference before you commit it.
"""

from penguin_hub_sdk.testing import _rewrite as _rewrite
from penguin_hub_sdk.testing.connector import ConnectorSuite, DestinationSuite, EmailProviderSuite
from penguin_hub_sdk.testing.context import MemoryLog, MemoryState, context, load
from penguin_hub_sdk.testing.plugin import PluginSuite
from penguin_hub_sdk.testing.recorder import Recorded, Recorder, Reply
from penguin_hub_sdk.testing.samples import EVENT, FULL, MINIMAL, NOW
from penguin_hub_sdk.testing.webhook import WebhookSuite

__all__ = [
    "EVENT",
    "FULL",
    "MINIMAL",
    "NOW",
    "ConnectorSuite",
    "DestinationSuite",
    "EmailProviderSuite",
    "MemoryLog",
    "MemoryState",
    "PluginSuite",
    "Recorded",
    "Recorder",
    "Reply",
    "WebhookSuite",
    "context",
    "load",
]
