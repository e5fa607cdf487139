"""The OpenAPI document's frame; the operations describe themselves where they are written."""

from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Contact, License, SecurityScheme, Tag

from penguin_hub import __version__

DESCRIPTION = """\
One API in front of every e-mail provider.

Authenticate with `Authorization: Bearer <API key>`. Lists are paged with `limit` and `cursor` (or `offset`). Errors are
problem documents (RFC 9457) with a stable `code`. POST requests that create or send take an `Idempotency-Key`.
"""

TAGS = {
    "Contacts": "The people you write to.",
    "Emails": "Messages out, and what became of them.",
    "Suppressions": "Addresses that are not written to.",
    "Webhooks": "Endpoints of yours that hear of events, and the log of what they were sent.",
    "Events": "What happened, and events of your own.",
    "Event types": "What events there are, and what they carry.",
    "Inbound": "What providers sent us, as it came.",
    "Connections": "Your accounts at providers.",
    "Plugins": "What can be connected.",
    "Marketplace": "The catalogue.",
    "Platform": "API keys, sessions, and the audit log.",
}


def config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="PenguinMails Integration Hub",
        version=__version__,
        description=DESCRIPTION,
        contact=Contact(name="PenguinMails", url="https://penguinmails.com"),
        license=License(name="MIT", identifier="MIT"),
        path="/api",
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        security=[{"apiKey": []}],
        components=Components(
            security_schemes={
                "apiKey": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    description="`pm_live_...`, or `pm_test_...` for the sandbox, where nothing leaves the machine.",
                )
            }
        ),
        tags=[Tag(name=name, description=text) for name, text in TAGS.items()],
        use_handler_docstrings=True,
    )
