"""What providers send us: the request, how it is verified, what it means.

A verifier is declared with the provider's rules and checks one request against the secrets of one connection; it never
re-serialises, and compares in constant time. Where providers' own packages are lenient (future timestamps, no replay
check) ours are strict.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec

from penguin_hub_sdk.errors import BadAnswer
from penguin_hub_sdk.events import ProviderEvent

T = TypeVar("T")


class InboundRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it came: the exact bytes."""

    method: str
    url: str
    """The public URL, as the provider called it."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in order; a name may come more than once. Values as latin-1."""
    body: bytes
    received_at: datetime

    def header(self, name: str) -> str | None:
        """The value of a header that must come once: None when it is absent or came more than once."""
        found = [value for key, value in self.headers if key == name.lower()]
        return found[0] if len(found) == 1 else None

    def json(self, type: type[T]) -> T:
        """The body as a struct. Raises BadAnswer when it is not what the provider's documentation promises."""
        try:
            return msgspec.json.decode(self.body, type=type)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadAnswer(f"The request is not what the provider promises: {error}.") from None


class Verifier(Protocol):
    """Decides whether a request is the provider's."""

    def verify(self, request: InboundRequest, configs: Sequence[Any]) -> None:
        """Raise SignatureInvalid unless one of `configs` (the current settings, then the previous ones while a
        secret is being rotated) proves the request. A missing secret refuses. Raises nothing else, whatever the bytes.
        """


@runtime_checkable
class DocumentVerifier(Protocol):
    """A verifier that needs a document from the provider first: a certificate, a key set. `verifiers.verify` asks the
    hub to fetch it, so that the verifier itself stays without I/O."""

    def document_url(self, request: InboundRequest) -> str:
        """An https URL that is the provider's beyond doubt. Raises SignatureInvalid."""

    def verify_with(self, document: bytes, request: InboundRequest, configs: Sequence[Any]) -> None:
        """As `Verifier.verify`, with the document at hand. Raises SignatureInvalid and nothing else."""


class Answer(msgspec.Struct, frozen=True):
    """What the provider is told instead of the usual empty 200: a handshake."""

    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    body: bytes = b""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """How a plugin takes the provider's requests."""

    verify: Verifier
    normalise: Callable[[InboundRequest], Iterable[ProviderEvent]]
    """Pure: bytes to events. An event nobody knows becomes `E.UNKNOWN`; a body that is not what the provider sends
    raises BadAnswer, and the raw request is kept and can be processed again."""
    answer: Callable[[InboundRequest], Answer | None] | None = None
    """For handshakes (Slack's url_verification): an Answer ends the matter, None lets the request go on as usual.
    Called after verification."""
    key: Callable[[InboundRequest], str | None] | None = None
    """What is equal in every redelivery of the same request. None or absent: the hash of the body."""
