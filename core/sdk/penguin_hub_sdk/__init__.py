"""Everything a plugin author imports: the contract between the hub and a plugin.

A plugin is a *value* (`Plugin`) that its module returns from one hook. What can be data is data: manifest,
configuration, event table, error table, verifier. What must be code is a small class that gets a `Context`.
"""

from pathlib import Path

from penguin_hub_sdk import errors, verifiers
from penguin_hub_sdk.config import Config, Secret
from penguin_hub_sdk.connectors import (
    Address,
    Attachment,
    BatchEmailProvider,
    Connector,
    Destination,
    EmailProvider,
    Event,
    Message,
    Receipt,
    Refusal,
)
from penguin_hub_sdk.context import Context, Log, State
from penguin_hub_sdk.events import Detail, E, ProviderEvent
from penguin_hub_sdk.exchange import Basic, Bearer, Part, Response
from penguin_hub_sdk.hooks import Plugin, hookimpl
from penguin_hub_sdk.http import Http
from penguin_hub_sdk.manifest import Limits, Manifest
from penguin_hub_sdk.network import Network
from penguin_hub_sdk.verifiers import (
    BODY,
    METHOD,
    TIMESTAMP,
    URL,
    BasicAuth,
    Digest,
    Ecdsa,
    GooglePush,
    Hmac,
    MailgunSignature,
    SharedToken,
    Sns,
    StandardWebhooks,
)
from penguin_hub_sdk.webhooks import Answer, InboundRequest, Webhook

__all__ = [
    "BODY",
    "METHOD",
    "TIMESTAMP",
    "URL",
    "Address",
    "Answer",
    "Attachment",
    "Basic",
    "BasicAuth",
    "BatchEmailProvider",
    "Bearer",
    "Config",
    "Connector",
    "Context",
    "Destination",
    "Detail",
    "Digest",
    "E",
    "Ecdsa",
    "EmailProvider",
    "Event",
    "GooglePush",
    "Hmac",
    "Http",
    "InboundRequest",
    "Limits",
    "Log",
    "MailgunSignature",
    "Manifest",
    "Message",
    "Network",
    "Part",
    "Plugin",
    "ProviderEvent",
    "Receipt",
    "Refusal",
    "Response",
    "Secret",
    "SharedToken",
    "Sns",
    "StandardWebhooks",
    "State",
    "Webhook",
    "errors",
    "hookimpl",
    "template_path",
    "verifiers",
]


def template_path() -> Path:
    """The folder of the plugin template (a copier template), in the wheel and in the repository alike."""
    packed = Path(__file__).parent / "_template"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "plugin-template"
