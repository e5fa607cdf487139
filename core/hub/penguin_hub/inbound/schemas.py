"""Requests of providers as the API shows them."""

from datetime import datetime
from typing import Literal

import msgspec

State = Literal["pending", "processed", "parked"]


class InboundSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One request that a provider sent us, proven to be its own."""

    id: str
    connection: str
    plugin: str
    state: State
    """`parked`: it could not be understood, and waits for somebody to process it again."""
    attempts: int
    events: list[str]
    """What it meant, in our words; `unknown:<raw type>` where we have none."""
    error: str | None
    received_at: datetime
    processed_at: datetime | None


class InboundDetail(InboundSummary, frozen=True, kw_only=True):
    """With the request itself. Credentials were taken out of headers and URL before it was stored."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: str
    """As text; bytes that are not UTF-8 are shown as U+FFFD."""
