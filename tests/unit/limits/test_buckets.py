"""The token bucket, whatever the times of the requests."""

from hypothesis import given
from hypothesis import strategies as st
from penguin_hub.limits.buckets import Bucket, Buckets

capacities = st.integers(1, 1000)
rates = st.floats(0.01, 100, allow_nan=False)
gaps = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=200)


@given(capacities, rates, gaps)
def test_a21_never_more_than_capacity_and_rate_allow(capacity: int, rate: float, pauses: list[float]) -> None:
    buckets, now, given_out = Buckets(), 1000.0, 0
    for pause in pauses:
        now += pause
        given_out += buckets.take((("k", capacity, rate),), now).allowed
    assert given_out <= capacity + rate * (now - 1000.0) + 1e-6


@given(capacities, rates, st.floats(0.1, 60, allow_nan=False))
def test_a21_who_asks_all_the_time_gets_all_there_is(capacity: int, rate: float, span: float) -> None:
    buckets, start = Buckets(), 5.0
    given_out, now = 0, start
    # Asks again exactly when it is told to: nothing may be withheld.
    for _ in range(5000):
        taken = buckets.take((("k", capacity, rate),), now)
        given_out += taken.allowed
        now += taken.retry_after
        if now > start + span:
            break
    else:
        return
    assert given_out >= capacity + int(rate * span) - 1


@given(capacities, rates, gaps)
def test_a22_waiting_as_told_is_enough(capacity: int, rate: float, pauses: list[float]) -> None:
    buckets, now = Buckets(), 0.0
    for pause in pauses:
        now += pause
        taken = buckets.take((("k", capacity, rate),), now)
        assert taken.remaining >= 0
        assert taken.allowed == (taken.retry_after == 0)
        if not taken.allowed:
            now += taken.retry_after + 1e-6
            assert buckets.take((("k", capacity, rate),), now).allowed


@given(capacities, rates, gaps)
def test_more_is_there_when_it_was_promised(capacity: int, rate: float, pauses: list[float]) -> None:
    buckets, now = Buckets(), 0.0
    for pause in pauses:
        now += pause
        taken = buckets.take((("k", capacity, rate),), now)
        if taken.allowed and taken.more_after:
            later = Buckets()
            later._buckets["k"] = Bucket(capacity, rate, now)
            later._buckets["k"]._tokens = buckets._buckets["k"]._tokens
            assert int(later._buckets["k"].fill(now + taken.more_after + 1e-6)) > taken.remaining


@given(st.lists(st.floats(-5, 5, allow_nan=False), max_size=50))
def test_a_clock_that_runs_backwards_neither_gives_nor_takes(steps: list[float]) -> None:
    bucket, now, furthest = Bucket(10, 1, 100.0), 100.0, 100.0
    bucket.spend(10)
    for step in steps:
        now += step
        furthest = max(furthest, now)
        assert abs(bucket.fill(now) - min(10, furthest - 100.0)) < 1e-6


@given(st.lists(st.booleans(), min_size=1, max_size=100))
def test_a23_all_or_nothing_of_several_buckets(which: list[bool]) -> None:
    """A key whose own bucket is empty takes nothing out of the tenant's."""
    buckets, allowed = Buckets(), {True: 0, False: 0}
    for first in which:
        name = "first" if first else "second"
        allowed[first] += buckets.take(((name, 5, 0.001), ("tenant", 8, 0.001)), 0.0).allowed
    assert allowed[True] == min(5, which.count(True)) or sum(allowed.values()) == 8
    assert sum(allowed.values()) <= 8
    assert abs(buckets._buckets["tenant"].fill(0.0) - (8 - sum(allowed.values()))) < 1e-6


def test_a_new_limit_holds_at_once() -> None:
    buckets = Buckets()
    assert buckets.take((("k", 100, 1.0),), 0.0).remaining == 99
    assert buckets.take((("k", 10, 1.0),), 0.0).remaining == 9


def test_the_longest_unused_is_forgotten() -> None:
    buckets = Buckets(most=3)
    for name in "abcad":
        buckets.take(((name, 5, 1.0),), 0.0)
    assert len(buckets) == 3
    assert list(buckets._buckets) == ["c", "a", "d"]
