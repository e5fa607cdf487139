"""Windows, shares and the breaker: what CASES W30 and W32 stand on."""

from penguin_hub.delivery import slots
from penguin_hub.delivery.slots import Endpoint, Slots


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def send(found: Slots, endpoint: Endpoint, *, answered: bool) -> None:
    found.finish(endpoint, found.start(endpoint), answered=answered)


def test_a_window_grows_with_answers_up_to_the_concurrency_and_falls_with_silence() -> None:
    found, endpoint = Slots(now=Clock()), Endpoint("ten_a", 8)
    assert found.appetite(endpoint) == slots.FIRST_WINDOW
    for _ in range(20):
        send(found, endpoint, answered=True)
    assert found.appetite(endpoint) == 8
    send(found, endpoint, answered=False)
    assert found.appetite(endpoint) == 1


def test_an_endpoint_that_hangs_from_the_start_holds_its_first_window_and_no_more() -> None:
    found, endpoint = Slots(now=Clock()), Endpoint("ten_a", 64)
    started = 0
    while found.may_start(endpoint):
        found.start(endpoint)
        started += 1
    assert started == slots.FIRST_WINDOW


def test_w30_unproven_endpoints_leave_half_of_the_slots_to_the_others() -> None:
    found = Slots(total=20, now=Clock())
    hanging = [Endpoint(f"ten_{number}", 64) for number in range(50)]
    good = Endpoint("ten_good", 64)
    send(found, good, answered=True)
    for endpoint in hanging:
        while found.may_start(endpoint):
            found.start(endpoint)
    assert found.used == 10
    assert found.may_start(good)


def test_one_tenant_holds_half_at_most() -> None:
    found = Slots(total=20, now=Clock())
    mine = [Endpoint("ten_a", 64) for _ in range(30)]
    for endpoint in mine:
        send(found, endpoint, answered=True)
    for endpoint in mine:
        while found.may_start(endpoint):
            found.start(endpoint)
    assert found.used == 10


def test_w32_the_breaker_opens_half_opens_and_closes() -> None:
    clock = Clock()
    found, endpoint = Slots(now=clock), Endpoint("ten_a", 64)
    for _ in range(slots.BREAK_AFTER - 1):
        send(found, endpoint, answered=False)
    assert not endpoint.is_broken
    send(found, endpoint, answered=False)
    assert endpoint.is_broken
    assert found.appetite(endpoint) == 0
    clock.now += slots.FIRST_PAUSE_SECONDS
    assert found.appetite(endpoint) == 1
    probe = found.start(endpoint)
    assert found.appetite(endpoint) == 0
    found.finish(endpoint, probe, answered=False)
    clock.now += slots.FIRST_PAUSE_SECONDS
    assert found.appetite(endpoint) == 0, "the second pause is longer"
    clock.now += slots.FIRST_PAUSE_SECONDS
    send(found, endpoint, answered=True)
    assert not endpoint.is_broken


def test_the_breaker_s_pause_has_an_end() -> None:
    clock = Clock()
    found, endpoint = Slots(now=clock), Endpoint("ten_a", 64)
    for _ in range(slots.BREAK_AFTER + 20):
        send(found, endpoint, answered=False)
    assert endpoint.pause == slots.LONGEST_PAUSE_SECONDS


def test_what_was_not_sent_teaches_nothing() -> None:
    found, endpoint = Slots(now=Clock()), Endpoint("ten_a", 64)
    found.finish(endpoint, found.start(endpoint), answered=None)
    assert (found.used, endpoint.inflight, endpoint.silent, endpoint.window) == (0, 0, 0, slots.FIRST_WINDOW)


def test_endpoints_that_begin_to_hang_take_twice_their_part_of_the_slots_at_most() -> None:
    found = Slots(total=100, now=Clock())
    endpoints = [Endpoint(f"ten_{number}", 64) for number in range(20)]
    for endpoint in endpoints:
        for _ in range(64):
            send(found, endpoint, answered=True)
    # All are proven and busy; two of them stop answering, and take whatever is free again and again.
    for endpoint in endpoints:
        found.start(endpoint)
    for endpoint in endpoints[:2]:
        while found.may_start(endpoint):
            found.start(endpoint)
    assert found.used - 18 <= 2 * 2 * 100 // 20


def test_one_busy_endpoint_alone_may_use_its_whole_concurrency() -> None:
    found, endpoint = Slots(total=200, now=Clock()), Endpoint("ten_a", 64)
    for _ in range(64):
        send(found, endpoint, answered=True)
    while found.may_start(endpoint):
        found.start(endpoint)
    assert found.used == 64


def test_who_has_not_answered_for_a_while_gets_no_more_until_he_does() -> None:
    clock = Clock()
    found, endpoint = Slots(now=clock), Endpoint("ten_a", 64)
    for _ in range(10):
        send(found, endpoint, answered=True)
    first = found.start(endpoint)
    clock.now += 4.0
    assert found.appetite(endpoint)
    clock.now += 2.0
    assert not found.appetite(endpoint)
    second = found.start(endpoint)
    found.finish(endpoint, first, answered=True)
    assert found.appetite(endpoint)
    found.finish(endpoint, second, answered=True)


def test_an_endpoint_that_was_idle_for_long_has_to_prove_itself_again() -> None:
    clock = Clock()
    found, endpoint = Slots(now=clock), Endpoint("ten_a", 64)
    for _ in range(64):
        send(found, endpoint, answered=True)
    assert found.appetite(endpoint) == 64
    clock.now += 3600
    assert found.appetite(endpoint) == slots.FIRST_WINDOW
    send(found, endpoint, answered=True)
    assert found.appetite(endpoint) == 64
