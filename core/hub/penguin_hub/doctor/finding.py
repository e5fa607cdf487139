"""What a check says."""

from typing import Literal

import msgspec

State = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    check: str
    state: State
    what: str
    advice: str | None = None
    """What to do about it."""


def ok(check: str, what: str) -> Finding:
    return Finding(check, "ok", what)


def warn(check: str, what: str, advice: str) -> Finding:
    return Finding(check, "warn", what, advice)


def fail(check: str, what: str, advice: str) -> Finding:
    return Finding(check, "fail", what, advice)
