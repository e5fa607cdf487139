"""When to try again: what a server asked for, and how long to wait when it did not say."""

import random
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from penguin_hub_sdk.manifest import Retry

LONGEST_RETRY_AFTER: Final = 86_400.0
"""Seconds. A server that asks for more than a day is asked again after a day."""
_STEP: Final = 0.5
_CEILING: Final = 10.0
_SECONDS: Final = re.compile(r"\d{1,12}(\.\d{1,6})?", re.ASCII)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110: seconds or an HTTP-date); None when it says nothing usable.

    A fraction (`120.6`) is taken although the RFC has none; a date in the past means now; anything else is ignored.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return min(max(0.0, (moment - now).total_seconds()), LONGEST_RETRY_AFTER)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def backoff(strategy: Retry, attempt: int, chance: random.Random) -> float | None:
    """Seconds before attempt `attempt` + 1 (the first is 0), with full jitter; None when there is to be none."""
    if strategy == "none":
        return None
    span = _STEP * (attempt + 1) if strategy == "linear" else _STEP * 2**attempt
    return chance.uniform(0.0, min(span, _CEILING))
