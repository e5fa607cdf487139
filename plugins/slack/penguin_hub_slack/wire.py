"""Slack's shapes: what its Web API answers, and what its Events API sends."""

from typing import Annotated

from msgspec import Meta, Struct

Seconds = Annotated[int, Meta(ge=0, lt=253_402_300_800)]
"""Unix time, below the year 10000."""


class Answer(Struct, frozen=True):
    """Every answer of the Web API, nearly always with the status 200: `ok` alone says whether it worked."""

    ok: bool
    error: str | None = None
    needed: str | None = None
    """The scopes one of which is missing, with `missing_scope`."""


class Channel(Struct, frozen=True):
    is_archived: bool = False


class ChannelInfo(Struct, frozen=True):
    """`conversations.info`."""

    channel: Channel | None = None


class InnerEvent(Struct, frozen=True):
    type: str


class Callback(Struct, frozen=True):
    """One request of the Events API: `url_verification` once, then `event_callback`."""

    type: str
    challenge: str | None = None
    event_id: str | None = None
    event_time: Seconds | None = None
    event: InnerEvent | None = None
