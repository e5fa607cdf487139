"""The fields of draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` and `RateLimit`."""

import math
from functools import lru_cache
from typing import Final

POLICY: Final = "default"
WINDOW_SECONDS: Final = 60

Headers = tuple[tuple[bytes, bytes], tuple[bytes, bytes]]


@lru_cache(maxsize=64)
def _policy(name: str, quota: int, window: int) -> bytes:
    return f'"{name}";q={quota};w={window}'.encode()


def fields(quota: int, remaining: int, more_after: float) -> Headers:
    """As ASGI headers. `more_after`: seconds until more quota, rounded up."""
    return (
        (b"ratelimit-policy", _policy(POLICY, quota, WINDOW_SECONDS)),
        (b"ratelimit", b'"default";r=%d;t=%d' % (remaining, math.ceil(more_after))),
    )


ANONYMOUS: Final = fields(0, 0, WINDOW_SECONDS)
"""Without a credential there is no quota."""
