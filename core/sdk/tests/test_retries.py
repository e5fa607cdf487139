"""Retry-After as servers send it, and the waits between tries."""

import random
from datetime import UTC, datetime

import pytest
from penguin_hub_sdk.manifest import Retry
from penguin_hub_sdk.retries import LONGEST_RETRY_AFTER, backoff, retry_after

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0), (" 120 ", 120.0), ("120.6", 120.6), ("0", 0.0), ("-5", None), ("abc", None), ("", None),
        (None, None), ("1e9", None), ("nan", None), ("inf", None), ("٣", None), ("999999999999", LONGEST_RETRY_AFTER),
        ("Fri, 20 Nov 2026 12:02:00 GMT", 120.0), ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("Fri, 20 Nov 2036 12:00:00 GMT", LONGEST_RETRY_AFTER), ("Fri, 99 Nov 2026 12:02:00 GMT", None),
        ("9" * 400, None),
    ],
)  # fmt: skip
def test_w06_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


def test_waits_grow_and_are_never_alike() -> None:
    chance = random.Random(1)
    shapes: dict[Retry, list[float]] = {
        "exponential": [0.5, 1, 2, 4, 8, 10, 10],
        "linear": [0.5, 1, 1.5, 2, 2.5, 3, 3.5],
    }
    for strategy, most in shapes.items():
        for attempt, limit in enumerate(most):
            waits = [backoff(strategy, attempt, chance) for _ in range(50)]
            assert all(wait is not None and 0 <= wait <= limit for wait in waits)
            assert len(set(waits)) > 40
    assert backoff("none", 0, chance) is None
