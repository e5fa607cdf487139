"""A schema is measured before it is compiled, and data before it is checked: nothing a tenant writes costs much."""

import time
from typing import Any

import msgspec
import pytest
from penguin_hub.event_types.builtin import BUILTIN
from penguin_hub.event_types.errors import SchemaNotAllowed
from penguin_hub.event_types.validation import (
    DIALECT,
    EVENT_BUDGET,
    MAX_CHAIN,
    MAX_CHECKS,
    MAX_DEPTH,
    MAX_ERRORS,
    MAX_PATTERNS,
    Compiled,
    checked_example,
)


def refusal(schema: dict[str, Any]) -> tuple[str, str]:
    """(pointer, sentence)."""
    with pytest.raises(SchemaNotAllowed) as refused:
        Compiled(schema)
    (error,) = refused.value.errors
    return error.pointer, error.detail


def complaints(schema: dict[str, Any], data: Any) -> list[tuple[str, str]]:
    compiled = Compiled(schema)
    return [(one.pointer, one.code) for one in compiled.complaints(data, "#", compiled.cost(msgspec.json.encode(data)))]


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


def doubled(levels: int) -> dict[str, Any]:
    """Definitions that each refer twice to the next."""
    definitions: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": {"type": "object"}}}


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"$ref": "https://example.com/schema"}, "#/schema/$ref"),
        ({"$ref": "file:///etc/passwd"}, "#/schema/$ref"),
        ({"properties": {"a/b": {"$ref": "other.json#/$defs/x"}}}, "#/schema/properties/a~1b/$ref"),
        ({"$ref": "#/$defs/gone"}, "#/schema/$ref"),
        ({"$ref": "#/properties/a", "properties": {"a": {}}}, "#/schema/$ref"),
        ({"$ref": 5}, "#/schema/$ref"),
        ({"$id": "https://example.com/me"}, "#/schema/$id"),
        ({"items": {"$dynamicRef": "#x"}}, "#/schema/items/$dynamicRef"),
        ({"$anchor": "x"}, "#/schema/$anchor"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "#/schema/$schema"),
        ({"$schema": 5}, "#/schema/$schema"),
        ({"items": {"$defs": {}}}, "#/schema/items/$defs"),
        ({"type": "nothing"}, "#/schema/type"),
        ({"properties": {"a": {"minimum": "1"}}}, "#/schema/properties/a/minimum"),
        ({"items": [{}]}, "#/schema/items"),
        ({"pattern": "["}, "#/schema/pattern"),
        ({"pattern": "(a)\\1"}, "#/schema/pattern"),
        ({"pattern": "(a{1000}){1000}"}, "#/schema/pattern"),
    ],
)
def test_what_is_no_schema_or_reaches_out_is_refused_with_its_place(schema: dict[str, Any], pointer: str) -> None:
    assert refusal(schema)[0] == pointer


def test_references_never_lead_in_a_circle() -> None:
    assert "circle" in refusal({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}})[1]
    definitions = {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}}
    assert "circle" in refusal({"$defs": definitions})[1], "also where nobody refers to it"


def test_what_a_schema_unfolds_to_is_bounded() -> None:
    Compiled(doubled(7))
    started = time.monotonic()
    for schema in (doubled(9), {"enum": list(range(MAX_CHECKS))}, {"anyOf": [{"const": n} for n in range(600)]}):
        assert refusal(schema)[1], schema
    assert time.monotonic() - started < 2
    definitions: dict[str, Any] = {f"d{n}": {"not": {"$ref": f"#/$defs/d{n + 1}"}} for n in range(MAX_CHAIN + 1)}
    assert "steps" in refusal({"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{MAX_CHAIN + 1}": {}}})[1]


def test_looking_at_what_was_not_looked_at_costs_double_at_each_level() -> None:
    def within(levels: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object"}
        for _ in range(levels):
            schema = {"allOf": [schema], "unevaluatedProperties": False}
        return schema

    Compiled(within(5))
    assert "checks" in refusal(within(10))[1]


def test_depth_size_and_patterns_are_bounded() -> None:
    Compiled(nested(MAX_DEPTH - 3))
    assert "levels" in refusal(nested(MAX_DEPTH))[1]
    assert "levels" in refusal(nested(300))[1]
    assert "levels" in refusal({"const": [[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]})[1]
    assert "KiB" in refusal({"description": "x" * 40_000})[1]
    Compiled({"properties": {f"p{n}": {"pattern": f"^{n}"} for n in range(MAX_PATTERNS)}})
    assert "patterns" in refusal({"patternProperties": {f"^{n}": {} for n in range(MAX_PATTERNS + 1)}})[1]


def test_words_for_people_cost_nothing_and_mean_nothing() -> None:
    talk = {"title": "t", "description": "d" * 1000, "examples": [{"$ref": "https://x"}], "default": {"$id": "x"}}
    schema = {"$schema": DIALECT, "properties": {"$ref": {**talk, "type": "string"}, "$id": talk}, **talk}
    assert complaints(schema, {"$ref": "x", "$id": 5}) == []
    assert complaints(schema, {"$ref": 5}) == [("#/$ref", "type")]


def test_a_regular_expression_takes_linear_time() -> None:
    started = time.monotonic()
    assert complaints({"pattern": "^(a+)+$"}, "a" * 50_000 + "b") == [("#", "pattern")]
    assert time.monotonic() - started < 2


def test_a_hostile_schema_of_a_tenth_of_a_second_is_the_worst_that_is_run() -> None:
    compiled = Compiled({"items": {"anyOf": [{"const": number} for number in range(400)]}})
    data = [399] * (EVENT_BUDGET // compiled.checks)
    assert compiled.cost(msgspec.json.encode(data)) <= EVENT_BUDGET * 1.01
    started = time.monotonic()
    assert compiled.complaints(data, "#", EVENT_BUDGET) == []
    assert compiled.complaints([-1.5] * len(data), "#", EVENT_BUDGET) != []
    assert time.monotonic() - started < 5, "a busy machine has its time; the measure is in the module"


def test_complaints_have_their_place_and_are_few() -> None:
    schema = {
        "properties": {"a/b": {"items": {"type": "integer"}}, "at": {"format": "date-time"}},
        "required": ["who"],
        "additionalProperties": False,
    }
    assert set(complaints(schema, {"a/b": [1, "x"], "at": "noon", "odd": 1})) == {
        ("#", "additionalProperties"),
        ("#/a~1b/1", "type"),
        ("#/at", "format"),
        ("#/who", "required"),
    }
    assert len(complaints({"items": False}, list(range(100)))) == MAX_ERRORS
    compiled = Compiled({"items": False})
    assert len(compiled.complaints(list(range(100)), "#", 100_000)) == 1, "of costly data the first is told"


@pytest.mark.parametrize(
    "value", [10**400, -(10**30), 1e308, "\u0000", "é" * 10, [[[[]]]], {"": None}, True, None, -0.0]
)
def test_any_json_is_checked_without_a_crash(value: Any) -> None:
    schema = {"properties": {"v": {"type": "integer", "maximum": 5, "multipleOf": 2, "format": "email", "enum": [1]}}}
    assert complaints(schema, {"v": value}) != []


def test_data_that_is_nested_too_deep_is_a_complaint() -> None:
    data: Any = 1
    for _ in range(400):
        data = [data]
    assert complaints({"type": "object", "properties": {"v": True}}, {"v": data}) in ([], [("#", "depth")])


def test_an_example_must_fit() -> None:
    compiled = Compiled({"required": ["a"]})
    assert checked_example(compiled, {"a": 1, "b": "é"}) == '{"a":1,"b":"é"}'
    for example in ({}, {"a": "x" * 40_000}):
        with pytest.raises(SchemaNotAllowed):
            checked_example(compiled, example)


@pytest.mark.parametrize("name", BUILTIN)
def test_the_hub_s_own_examples_fit_their_schemas(name: str) -> None:
    type = BUILTIN[name]
    assert checked_example(Compiled(type.schema), type.example)
    assert type.description.endswith(".")
