"""Which endpoints an event goes to: CASES W48."""

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some
from penguin_hub.delivery.matching import Filter, Subject, Subscription, covers, matches


def subject(type: str = "email.sent", **given: Any) -> Subject:
    data = given.pop("data", {})
    return Subject(
        **{"type": type, "workspace": "wsp_a", "tags": ("vip",), "test": False, "data": lambda: data, **given}
    )


def passes(wanted: dict[str, Any], **given: Any) -> bool:
    return matches(Subscription("whk_x", ("*",), msgspec.convert(wanted, Filter)), subject(**given))


@pytest.mark.parametrize(
    ("pattern", "type", "covered"),
    [
        ("*", "anything.at.all", True),
        ("email.*", "email.sent", True),
        ("email.*", "email.link.clicked", True),
        ("email.*", "email", False),
        ("email.*", "emails.sent", False),
        ("email.sent", "email.sent", True),
        ("email.sent", "email.sent.twice", False),
        ("*", "endpoint.disabled", False),
        ("endpoint.*", "endpoint.disabled", True),
        ("message.exhausted", "message.exhausted", True),
    ],
)
def test_types_and_wildcards(pattern: str, type: str, covered: bool) -> None:
    assert covers(pattern, type) is covered


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        ({}, {}, True),
        ({"workspaces": ["wsp_a"]}, {}, True),
        ({"workspaces": ["wsp_b"]}, {}, False),
        ({"workspaces": ["wsp_b"]}, {"workspace": None}, False),
        ({"tags": ["vip", "new"]}, {}, True),
        ({"tags": ["new"]}, {}, False),
        ({"tags": ["new"]}, {"tags": ()}, False),
        ({"environment": "test"}, {}, False),
        ({"environment": "test"}, {"test": True}, True),
        ({"campaigns": ["cmp_1"]}, {"data": {"campaign_id": "cmp_1"}}, True),
        ({"campaigns": ["cmp_1"]}, {"data": {}}, False),
        ({"campaigns": ["cmp_1"]}, {"data": {"campaign_id": ["cmp_1"]}}, False),
        ({"data": {"plan": "pro"}}, {"data": {"plan": "pro"}}, True),
        ({"data": {"plan": "pro"}}, {"data": {"plan": ["pro"]}}, False),
        ({"data": {"plan": ["pro", "max"]}}, {"data": {"plan": "max"}}, True),
        ({"data": {"a.b.c": 1}}, {"data": {"a": {"b": {"c": 1.0}}}}, True),
        ({"data": {"a.b.c": 1}}, {"data": {"a": {"b": [1]}}}, False),
        ({"data": {"a": 1}}, {"data": {"a": True}}, False),
        ({"data": {"a": None}}, {"data": {"a": None}}, True),
        ({"data": {"a": None}}, {"data": {}}, False),
        ({"data": {"score": {"gte": 50, "lt": 100}}}, {"data": {"score": 50}}, True),
        ({"data": {"score": {"gte": 50, "lt": 100}}}, {"data": {"score": 100}}, False),
        ({"data": {"score": {"gt": 5}}}, {"data": {"score": "9"}}, False),
        ({"data": {"score": {"gt": 0}}}, {"data": {"score": True}}, False),
        ({"data": {"a": {"exists": True}}}, {"data": {"a": None}}, True),
        ({"data": {"a": {"exists": True}}}, {"data": {}}, False),
        ({"data": {"a": {"exists": False}}}, {"data": {}}, True),
        ({"data": {"a": {"ne": 1}}}, {"data": {"a": 2}}, True),
        ({"data": {"a": {"ne": 1}}}, {"data": {}}, False),
        ({"data": {"to": {"suffix": "@example.com"}}}, {"data": {"to": "a@example.com"}}, True),
        ({"data": {"to": {"prefix": "b"}}}, {"data": {"to": "a@example.com"}}, False),
        ({"data": {"list": {"contains": 3}}}, {"data": {"list": [1, 2, 3]}}, True),
        ({"data": {"list": {"contains": "x"}}}, {"data": {"list": {"x": 1}}}, False),
        ({"data": {"a": {"in": [1, "1"]}}}, {"data": {"a": "1"}}, True),
        ({"data": {"a": {"eq": {}}}}, {"data": {"a": {}}}, None),
    ],
)
def test_w48_filters(wanted: dict[str, Any], given: dict[str, Any], expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(msgspec.ValidationError):
            passes(wanted, **given)
    else:
        assert passes(wanted, **given) is expected


def test_w48_ten_thousand_elements_and_deep_nesting_take_no_time() -> None:
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(500):
        inner["a"] = {}
        inner = inner["a"]
    data = {"list": list(range(10_000)), "deep": deep}
    started = time.perf_counter()
    assert passes({"data": {"list": {"contains": 9_999}, "deep.a.a.a": {"exists": True}}}, data=data)
    assert time.perf_counter() - started < 0.1


_json = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(data=some.dictionaries(some.sampled_from(["a", "b"]), _json, max_size=2), wanted=_json)
def test_w48_whatever_the_data_the_answer_is_yes_or_no(data: dict[str, Any], wanted: Any) -> None:
    for operator in ("eq", "ne", "gt", "lte", "prefix", "contains", "exists"):
        try:
            asked = msgspec.convert({"data": {"a.b": {operator: wanted}, "a": wanted}}, Filter)
        except msgspec.ValidationError:
            continue
        assert matches(Subscription("whk_x", ("*",), asked), subject(data=data)) in (True, False)
