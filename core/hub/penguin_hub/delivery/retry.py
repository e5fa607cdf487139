"""What an attempt's outcome means, and when the next one is due. Pure."""

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

import msgspec

# How an attempt that got no answer failed. `unreachable` is one word on purpose: a blocked address, a closed port and
# an unknown name must look alike to a tenant, or the hub becomes a scanner of its own network.
Failure = Literal["timeout", "unreachable", "tls", "protocol", "status", "redirect", "token", "rejected", "unavailable"]

DEFAULT: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each retry."""
PATIENT: Final = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0)
"""Goes on for a little more than a day."""
PRESETS: Final = {"default": DEFAULT, "patient": PATIENT, "none": ()}

JITTER: Final = 0.1
"""A delay is spread over its value and this share more, so that what failed together does not come back together."""
MAX_HINT_SECONDS: Final = 24 * 3600.0
"""The longest `Retry-After` that is honoured."""
MAX_DELAYS: Final = 20
MAX_DELAY_SECONDS: Final = 7 * 24 * 3600.0

_HINTED: Final = frozenset({429, 502, 503, 504})


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of a delivery."""

    state: Literal["succeeded", "retry", "failed"]
    delay: float = 0.0
    """Seconds until the retry."""
    disable: bool = False
    """The receiver said that it is gone (410)."""


def succeeded(status: int | None) -> bool:
    """Only 2xx. A redirect is not followed, and 304 answers a question nobody asked."""
    return status is not None and 200 <= status < 300


def judge(
    status: int | None, retry_after: float | None, *, tries: int, delays: Sequence[float], final: bool = False
) -> Verdict:
    """After the `tries`-th attempt of a series. `final`: the failure cannot be mended by trying again."""
    if succeeded(status):
        return Verdict("succeeded")
    if status == 410:
        return Verdict("failed", disable=True)
    if final or tries > len(delays):
        return Verdict("failed")
    delay = spread(delays[tries - 1])
    if retry_after is not None and (status is None or status in _HINTED):
        delay = max(delay, min(retry_after, MAX_HINT_SECONDS))
    return Verdict("retry", delay)


def spread(delay: float) -> float:
    return delay * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 -- jitter, not a secret


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for (RFC 9110: a number or a date); None for anything else."""
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
        seconds = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    return seconds if math.isfinite(seconds) and seconds > 0 else None
