"""When a message that a provider did not take is tried again."""

import random
from datetime import datetime, timedelta
from typing import Final

from penguin_hub_sdk.errors import PluginError, QuotaExceeded

DELAYS: Final = (5, 30, 120, 300, 900, 1800, 3600)
"""Seconds before each further attempt: eight attempts within about two hours."""
MAX_ATTEMPTS: Final = len(DELAYS) + 1
JITTER: Final = 0.2
MAX_WAIT: Final = 6 * 3600
"""Seconds; what a provider asks for beyond that is not waited for."""
QUOTA_WAIT: Final = 3600
"""Seconds; an allowance that is used up does not come back sooner."""


def next_attempt(now: datetime, attempt: int, error: PluginError | None = None) -> datetime | None:
    """When to try again after attempt number `attempt` (1 is the first) failed; None: never."""
    if attempt >= MAX_ATTEMPTS:
        return None
    seconds = DELAYS[attempt - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 -- spreads load, keeps no secret
    if error is not None:
        asked = error.retry_after or (QUOTA_WAIT if isinstance(error, QuotaExceeded) else 0)
        seconds = max(seconds, min(asked, MAX_WAIT))
    return now + timedelta(seconds=seconds)
