"""Who is claimed for, and how much."""

from hypothesis import given
from hypothesis import strategies as some
from penguin_hub.delivery.shares import Wish, share


def test_everybody_gets_the_same_and_the_modest_leave_the_rest() -> None:
    wishes = [Wish("ten_a", "whk_a", 0), Wish("ten_b", "whk_b", 0), Wish("ten_c", "whk_c", 0)]
    found = {
        endpoint: count for endpoint, _, count in share(wishes, {"whk_a": 1000, "whk_b": 1000, "whk_c": 10}, 300, 0)
    }
    assert found["whk_c"] == 10
    assert sum(found.values()) == 300
    assert min(found["whk_a"], found["whk_b"]) >= 100


def test_a_tenant_with_many_endpoints_gets_no_more_than_one_with_one() -> None:
    wishes = [Wish("ten_a", f"whk_{number}", 0) for number in range(50)] + [Wish("ten_b", "whk_b", 0)]
    room = {wish.endpoint: 1000 for wish in wishes}
    found = share(wishes, room, 200, 0)
    assert sum(count for endpoint, _, count in found if endpoint == "whk_b") >= 90


def test_first_attempts_are_not_starved_by_retries_nor_retries_by_first_attempts() -> None:
    wishes = [Wish("ten_a", "whk_a", lane) for lane in (1, 0, 2)]
    found = {lane: count for _, lane, count in share(wishes, {"whk_a": 70}, 500, 0)}
    assert found == {0: 40, 1: 20, 2: 10}


def test_an_endpoint_that_takes_one_at_a_time_gets_its_retries_too() -> None:
    wishes = [Wish("ten_a", "whk_a", lane) for lane in (0, 1, 2)]
    served = [share(wishes, {"whk_a": 1}, 500, turn)[0][1] for turn in range(7)]
    assert sorted(served) == [0, 0, 0, 0, 1, 1, 2]


def test_who_comes_first_changes_from_turn_to_turn() -> None:
    wishes = [Wish(f"ten_{number}", f"whk_{number}", 0) for number in range(10)]
    room = {wish.endpoint: 5 for wish in wishes}
    served = {endpoint for turn in range(10) for endpoint, _, _ in share(wishes, room, 3, turn)}
    assert len(served) == 10


@given(
    wishes=some.lists(
        some.builds(
            Wish,
            some.sampled_from(["ten_a", "ten_b", "ten_c"]),
            some.sampled_from([f"whk_{number}" for number in range(5)]),
            some.integers(0, 2),
        ),
        unique=True,
        max_size=15,
    ),
    room=some.dictionaries(some.sampled_from([f"whk_{number}" for number in range(5)]), some.integers(-2, 30)),
    capacity=some.integers(0, 40),
    turn=some.integers(0, 100),
)
def test_never_more_than_there_is_room_for(wishes: list[Wish], room: dict[str, int], capacity: int, turn: int) -> None:
    owner = {wish.endpoint: wish.tenant for wish in wishes}
    wishes = [wish for wish in wishes if owner[wish.endpoint] == wish.tenant]
    found = share(wishes, room, capacity, turn)
    assert all(count > 0 for _, _, count in found)
    assert {(endpoint, lane) for endpoint, lane, _ in found} <= {(wish.endpoint, wish.lane) for wish in wishes}
    assert sum(count for _, _, count in found) <= capacity
    for endpoint in owner:
        assert sum(count for name, _, count in found if name == endpoint) <= max(0, room.get(endpoint, 0))
    if capacity > 0 and any(room.get(wish.endpoint, 0) > 0 for wish in wishes):
        assert found
