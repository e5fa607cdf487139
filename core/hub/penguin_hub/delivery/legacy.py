"""A second signature in the form of another system, for receivers that move to us one by one.

    GitHub   header X-Hub-Signature-256, template sha256={signature}, over {body}
    Stripe   header Stripe-Signature, template t={timestamp},v1={signature}, over {timestamp}.{body}
    Hook0    header X-Hook0-Signature, template t={timestamp},v0={signature}, over {timestamp}.{body}

Pure. The templates know three words and nothing else: they are replaced, never formatted.
"""

import base64
import hmac
import re
from typing import Annotated, Any, Final, Literal

import msgspec

from penguin_hub.http.bodies import Input

DIGESTS: Final = {"hmac-sha256": "sha256", "hmac-sha1": "sha1", "hmac-sha512": "sha512"}
_WORDS: Final = re.compile(r"\{[^{}]*\}?|\}")
_KNOWN: Final = frozenset({"{signature}", "{timestamp}", "{id}"})


class LegacySignature(Input, frozen=True, kw_only=True):
    """Sent beside the Standard Webhooks headers, which every delivery has."""

    header: Annotated[str, msgspec.Meta(min_length=1, max_length=64, examples=["X-Hub-Signature-256"])]
    algorithm: Literal["hmac-sha256", "hmac-sha1", "hmac-sha512"] = "hmac-sha256"
    encoding: Literal["hex", "base64"] = "hex"
    template: Annotated[str, msgspec.Meta(min_length=1, max_length=256, examples=["t={timestamp},v1={signature}"])] = (
        "{signature}"
    )
    """The header's value; it may hold `{signature}` (once), `{timestamp}` and `{id}`."""
    signed: Literal["{body}", "{timestamp}.{body}", "{id}.{timestamp}.{body}"] = "{body}"
    """What is signed."""
    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    """The other system's secret, as text; its UTF-8 bytes are the key. Never shown again."""

    def __repr__(self) -> str:
        return f"LegacySignature(header={self.header!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("header", self.header)]


class TemplateInvalid(ValueError):
    """Not a template. The text says why."""


def check_template(template: str) -> None:
    """Raises TemplateInvalid."""
    words = _WORDS.findall(template)
    if unknown := next((word for word in words if word not in _KNOWN), None):
        raise TemplateInvalid(f"{unknown} is none of {{signature}}, {{timestamp}} and {{id}}")
    if words.count("{signature}") != 1:
        raise TemplateInvalid("{signature} stands in it exactly once")
    if not re.fullmatch(r"[\x20-\x7e]+", template) or template != template.strip():
        raise TemplateInvalid("it holds printable ASCII, without spaces at its ends")


class LegacySigner:
    """One configuration, ready to sign."""

    __slots__ = ("_digest", "_hex", "_key", "_signed", "_template", "header")

    def __init__(self, wanted: LegacySignature) -> None:
        self.header = wanted.header
        self._key = wanted.secret.encode()
        self._digest = DIGESTS[wanted.algorithm]
        self._hex = wanted.encoding == "hex"
        self._signed = wanted.signed
        self._template = wanted.template

    def value(self, message_id: str, timestamp: int, body: bytes) -> str:
        """The header's value. `timestamp` is in Unix seconds."""
        before = self._signed.removesuffix("{body}")
        content = before.replace("{id}", message_id).replace("{timestamp}", str(timestamp)).encode("ascii") + body
        digest = hmac.digest(self._key, content, self._digest)
        signature = digest.hex() if self._hex else base64.b64encode(digest).decode("ascii")
        text = self._template.replace("{timestamp}", str(timestamp)).replace("{id}", message_id)
        return text.replace("{signature}", signature)

    def __repr__(self) -> str:
        return f"LegacySigner(header={self.header!r})"
