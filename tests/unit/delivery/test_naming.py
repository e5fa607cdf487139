"""A delivery's id says which event and which endpoint."""

from datetime import UTC, datetime

from penguin_hub.delivery.naming import deliveries_of, delivery_id
from penguin_hub.platform import ids


def test_the_pair_of_event_and_endpoint_has_one_id_and_two_pairs_have_two() -> None:
    events = [ids.new("evt") for _ in range(200)]
    endpoints = [ids.new("whk") for _ in range(20)]
    made = {delivery_id(event, endpoint) for event in events for endpoint in endpoints}
    assert len(made) == 4000
    assert all(ids.is_id(one, "dlv") for one in made)
    assert delivery_id(events[0], endpoints[0]) == delivery_id(events[0], endpoints[0])


def test_deliveries_of_an_event_lie_in_its_range_and_others_do_not() -> None:
    first, second = ids.new("evt"), ids.new("evt")
    endpoint = ids.new("whk")
    low, high = deliveries_of(first)
    assert low <= delivery_id(first, endpoint) <= high
    assert not low <= delivery_id(second, endpoint) <= high


def test_a_delivery_falls_into_its_event_s_day() -> None:
    event = ids.lowest_at("evt", datetime(2026, 11, 20, 23, 59, 59, 999000, tzinfo=UTC))
    one = delivery_id(event, ids.new("whk"))
    low, high = ids.bounds_for_day("dlv", datetime(2026, 11, 20, tzinfo=UTC))
    assert low <= one < high
    assert ids.created_at(one) == ids.created_at(event)
