"""Suppressions as clients send and see them."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from penguin_hub.http.bodies import Input

Reason = Literal["hard_bounce", "complaint", "unsubscribe", "manual"]
Scope = Literal["all", "marketing"]


class NewSuppression(Input, frozen=True, kw_only=True):
    email: Annotated[str, msgspec.Meta(max_length=254, examples=["ada@example.com"])]
    reason: Reason = "manual"
    stream: Scope = "all"
    """`marketing`: transactional mail still goes out."""


class Suppression(msgspec.Struct, frozen=True):
    id: str
    email: str
    reason: Reason
    stream: Scope
    source: str
    """Who said so: a key, a user, or the connection whose provider reported it."""
    created_at: datetime


class Found(msgspec.Struct, frozen=True):
    """A reason not to write to somebody, as the provider or the tenant gave it."""

    email: str
    key: str
    test: bool
    reason: Reason
    stream: Scope
