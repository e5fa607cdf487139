"""Verdicts, schedules and hints: CASES W6, W7, W16, W17."""

from datetime import UTC, datetime

import pytest
from penguin_hub.delivery import retry

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 120 ", 120.0),
        ("120.6", 120.6),
        ("Fri, 20 Nov 2026 12:02:00 GMT", 120.0),
        ("Fri, 20 Nov 2026 12:02:00", 120.0),
        ("315360000", 315360000.0),
        ("-5", None),
        ("0", None),
        ("abc", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("1_000", None),
        ("١٢", None),
        ("Fri, 20 Nov 2020 12:02:00 GMT", None),
        ("Fri, 99 Nov 2026 12:02:00 GMT", None),
        (None, None),
    ],
)
def test_w06_a_hint_is_a_number_or_a_date_and_garbage_is_ignored(value: str | None, seconds: float | None) -> None:
    assert retry.retry_after(value, NOW) == seconds


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_w07_a_hint_is_waited_for_within_the_cap(status: int) -> None:
    assert retry.judge(status, 120.0, tries=1, delays=[1]).delay >= 120
    ten_years = retry.judge(status, 315360000.0, tries=1, delays=[1])
    assert ten_years.delay == retry.MAX_HINT_SECONDS
    assert retry.judge(status, 1.0, tries=1, delays=[60]).delay >= 60


def test_w07_a_hint_on_another_status_is_not_a_hint() -> None:
    assert retry.judge(500, 120.0, tries=1, delays=[1]).delay < 2


@pytest.mark.parametrize("count", [0, 1, 5])
def test_w16_a_series_ends_after_its_delays(count: int) -> None:
    states = [retry.judge(500, None, tries=tries, delays=[1.0] * count).state for tries in range(1, count + 2)]
    assert states == ["retry"] * count + ["failed"]


def test_w17_delays_are_spread_and_never_shortened() -> None:
    found = [retry.judge(500, None, tries=1, delays=[10.0]).delay for _ in range(200)]
    assert min(found) >= 10.0
    assert max(found) <= 10.0 * (1 + retry.JITTER)
    assert len(set(found)) > 100


@pytest.mark.parametrize("status", [200, 299])
def test_w01_2xx_ends_it(status: int) -> None:
    assert retry.judge(status, 5.0, tries=1, delays=[1.0]) == retry.Verdict("succeeded")


def test_w05_gone_is_for_good() -> None:
    assert retry.judge(410, None, tries=1, delays=[1.0]) == retry.Verdict("failed", disable=True)


def test_what_cannot_be_mended_is_not_tried_again() -> None:
    assert retry.judge(None, None, tries=1, delays=[1.0], final=True).state == "failed"
