"""JSON Schema 2020-12 with a bound on what it may cost, whoever wrote the schema and whoever the data.

A schema comes from one tenant and is run in a process that serves all. So it is measured before it is compiled:
references lead to `#/$defs/...` only and never in a circle, and the checks that they unfold to are counted (18 small
definitions that each refer twice to the next are 262,144 checks). Regular expressions are those of a linear-time
engine, and few. At a publish the checks times the values in the data, which no validation exceeds, stay under
`EVENT_BUDGET`. Nothing is ever fetched.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema_rs
import msgspec
from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from penguin_hub.event_types.errors import SchemaNotAllowed
from penguin_hub.platform.errors import FieldError

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MAX_SCHEMA: Final = 32 * 1024
"""Bytes of a schema, and of an example."""
MAX_DEPTH: Final = 24
"""Schemas inside schemas."""
MAX_CHAIN: Final = 8
"""Definitions that refer to definitions."""
MAX_CHECKS: Final = 1000
MAX_PATTERNS: Final = 50
EVENT_BUDGET: Final = 2_000_000
"""Checks times values of one event: a tenth of a second, at the worst."""
MAX_ERRORS: Final = 20
"""Complaints about one event."""

_REGEX_BYTES: Final = 64 * 1024
# Listing all that is wrong costs more than finding out that something is, so of large data only the first is told.
_LIST_BELOW: Final = 20_000

# Where the keywords of the dialect hold schemas: one, a list of them, or them by name.
_ONE: Final = frozenset({
    "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then", "unevaluatedItems",
    "unevaluatedProperties",
})  # fmt: skip
_LIST: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED: Final = frozenset({"definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"})
# What says something to people and nothing to a validator.
_SAID: Final = frozenset({
    "$comment", "$defs", "$schema", "contentEncoding", "contentMediaType", "contentSchema", "default", "deprecated",
    "description", "examples", "readOnly", "title", "writeOnly",
})  # fmt: skip
# What changes the meaning of references, or resolves them at the time of validation.
_REFUSED: Final = frozenset({
    "$anchor", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef", "$vocabulary",
})  # fmt: skip


class Compiled:
    """One schema, ready to check data. `weight` is about the bytes that it holds in memory."""

    __slots__ = ("_validator", "checks", "version", "weight")

    def __init__(self, schema: dict[str, Any], version: int = 1) -> None:
        """Raises SchemaNotAllowed; its pointers begin with `#/schema`."""
        size = len(_encoded(schema, "schema"))
        measure = _Measure(schema)
        self.checks = measure.checks()
        try:
            self._validator = Draft202012Validator(
                schema,
                validate_formats=True,
                offline=True,
                mask="the value",
                pattern_options=RegexOptions(size_limit=_REGEX_BYTES, dfa_size_limit=_REGEX_BYTES),
            )
        except ValidationError as error:
            raise _refused(pointer("#/schema", error.instance_path), _sentence(error)) from error
        self.version = version
        self.weight = 2048 + 10 * size + 2 * _REGEX_BYTES * measure.patterns

    def cost(self, raw: bytes) -> int:
        """The most checks that this data can cause: every value follows a bracket, a comma or a colon."""
        return self.checks * (raw.count(b",") + raw.count(b":") + raw.count(b"[") + 1)

    def complaints(self, data: Any, where: str, cost: int) -> list[FieldError]:
        """What is wrong with the data, each with its place below `where`."""
        try:
            if self._validator.is_valid(data):
                return []
            if cost > _LIST_BELOW:
                self._validator.validate(data)
            found: list[FieldError] = []
            for error in self._validator.iter_errors(data):
                found.append(_complaint(error, where))
                if len(found) == MAX_ERRORS:
                    break
        except ValidationError as error:
            return [_complaint(error, where)]
        except ValueError:
            # Nested deeper than the validator follows.
            return [FieldError(where, "depth", "The data is nested too deep to be checked")]
        return found


def checked_example(compiled: Compiled, example: dict[str, Any]) -> str:
    """The example as JSON. Raises SchemaNotAllowed when it is too large or does not fit the schema."""
    raw = _encoded(example, "example")
    cost = compiled.cost(raw)
    if cost > EVENT_BUDGET:
        raise _refused("#/example", "Checking the example against this schema costs too much")
    if found := compiled.complaints(example, "#/example", cost):
        raise SchemaNotAllowed("The example does not fit the schema.", errors=tuple(found))
    return raw.decode()


def pointer(where: str, path: list[str | int]) -> str:
    """`where` continued as a JSON Pointer (RFC 6901)."""
    return where + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


class _Measure:
    """Walks one schema: what it refers to, how many checks it unfolds to, how many patterns it has."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._root = schema
        definitions = schema.get("$defs", {})
        self._definitions: Mapping[str, Any] = definitions if isinstance(definitions, Mapping) else {}
        self._known: dict[str, int] = {}
        self._under_way: list[str] = []
        self.patterns = 0

    def checks(self) -> int:
        """Raises SchemaNotAllowed."""
        total = self._of(self._root, "#/schema", MAX_DEPTH)
        # Definitions that nothing refers to are compiled all the same.
        for name in self._definitions:
            self._definition(name, "#/schema")
        if self.patterns > MAX_PATTERNS:
            raise _refused("#/schema", f"A schema has {MAX_PATTERNS} patterns at most")
        return total

    def _of(self, schema: Any, where: str, depth: int) -> int:
        if depth == 0:
            raise _refused(where, f"A schema is nested {MAX_DEPTH} levels deep at most")
        if not isinstance(schema, dict):
            return 1
        if str(schema.get("$schema", DIALECT)).rstrip("#") != DIALECT:
            raise _refused(f"{where}/$schema", f"Schemas are written in {DIALECT}")
        if "$defs" in schema and schema is not self._root:
            raise _refused(f"{where}/$defs", "Definitions stand at the top of the schema")
        total = 1
        for keyword, value in schema.items():
            if keyword in _REFUSED:
                raise _refused(f"{where}/{keyword}", f"{keyword} cannot be used here")
            if keyword not in _SAID:
                total += self._keyword(keyword, value, pointer(where, [keyword]), depth - 1)
            if total > MAX_CHECKS:
                raise _refused(where, f"A schema unfolds to {MAX_CHECKS} checks at most")
        # To know what was not looked at, everything beside it is gone through once more.
        if "unevaluatedItems" in schema or "unevaluatedProperties" in schema:
            total *= 2
        return total

    def _keyword(self, keyword: str, value: Any, where: str, depth: int) -> int:
        if keyword == "$ref":
            return self._reference(value, where)
        if keyword in _ONE:
            return self._of(value, where, depth)
        if keyword in _LIST and isinstance(value, list):
            return sum(self._of(one, f"{where}/{number}", depth) for number, one in enumerate(value))
        if keyword in _NAMED and isinstance(value, dict):
            self.patterns += len(value) if keyword == "patternProperties" else 0
            return sum(self._of(one, pointer(where, [name]), depth) for name, one in value.items())
        self.patterns += keyword == "pattern"
        return sum(1 for _ in _values(value, where, depth))

    def _reference(self, value: Any, where: str) -> int:
        name = value.removeprefix("#/$defs/") if isinstance(value, str) else ""
        name = name.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, str) or not value.startswith("#/$defs/") or name not in self._definitions:
            raise _refused(where, "$ref leads to a definition of this schema, such as #/$defs/address")
        return self._definition(name, where)

    def _definition(self, name: str, where: str) -> int:
        if name in self._under_way:
            raise _refused(where, "References must not lead in a circle")
        if len(self._under_way) == MAX_CHAIN:
            raise _refused(where, f"Definitions refer to each other over {MAX_CHAIN} steps at most")
        if name not in self._known:
            self._under_way.append(name)
            self._known[name] = self._of(self._definitions[name], pointer("#/schema", ["$defs", name]), MAX_DEPTH)
            self._under_way.pop()
        return self._known[name]


def _values(value: Any, where: str, depth: int) -> Iterator[None]:
    """One for every value of a JSON document."""
    if depth == 0:
        raise _refused(where, f"A schema is nested {MAX_DEPTH} levels deep at most")
    yield None
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inside:
        yield from _values(one, where, depth - 1)


def _encoded(document: dict[str, Any], name: str) -> bytes:
    raw = msgspec.json.encode(document)
    if len(raw) > MAX_SCHEMA:
        raise _refused(f"#/{name}", f"It holds {MAX_SCHEMA // 1024} KiB at most")
    return raw


def _complaint(error: jsonschema_rs.ValidationError, where: str) -> FieldError:
    path = list(error.instance_path)
    kind = error.kind
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        path.append(kind.property)
    return FieldError(pointer(where, path)[:500], kind.name, _sentence(error))


def _sentence(error: jsonschema_rs.ValidationError) -> str:
    text = error.message[:300]
    return text[:1].upper() + text[1:]


def _refused(where: str, detail: str) -> SchemaNotAllowed:
    return SchemaNotAllowed(f"{detail}.", errors=(FieldError(where[:500], "not_allowed", detail),))
