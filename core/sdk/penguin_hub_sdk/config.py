"""A connection's configuration: what the tenant fills in, checked, with its secrets kept apart."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import msgspec

C = TypeVar("C", bound="Config")


class Secret:
    """A value that is never seen by accident: not in a repr, a log, an error, or an encoded struct."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself: call it where it goes on the wire, and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not pickled")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every plugin's settings.

    Fields of type `Secret` go to the secret store; the others to the database. Use `Annotated[..., msgspec.Meta(
    title=..., description=...)]` for what the form shows. A check across fields belongs in `__post_init__`, which
    raises ValueError with a sentence for the tenant.
    """

    SECRET_FORMAT: ClassVar[str] = "password"  # noqa: S105 - JSON Schema's word for a masked field


def decode(config: type[C], values: Mapping[str, Any]) -> C:
    """A struct from plain values. Raises msgspec.ValidationError, whose text ends in the field's path `$.name`."""
    return msgspec.convert(dict(values), config, dec_hook=_decode)


def secret_fields(config: type[Config]) -> frozenset[str]:
    """The names of the fields that are secrets (optional ones too)."""
    return frozenset(
        field.name for field in msgspec.structs.fields(config) if field.type is Secret or Secret in _members(field.type)
    )


def secret_values(config: Config) -> tuple[str, ...]:
    """The secrets themselves, for those who take them out of a text before it is shown."""
    values = (getattr(config, field) for field in config.__struct_fields__)
    return tuple(value.reveal() for value in values if isinstance(value, Secret))


def json_schema(config: type[Config]) -> dict[str, Any]:
    """JSON Schema 2020-12 of the form; secrets are `writeOnly` strings of format `password`."""
    (schema,), components = msgspec.json.schema_components([config], schema_hook=_schema, ref_template="#/$defs/{name}")
    own = components.pop(config.__name__, schema)
    return {
        **own,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **({"$defs": components} if components else {}),
    }


def _members(annotation: Any) -> tuple[Any, ...]:
    """Every type inside an annotation, at any depth: `Annotated[Secret | None, Meta(...)]` has Secret in it."""
    direct = tuple(getattr(annotation, "__args__", ()))
    return direct + tuple(inner for member in direct for inner in _members(member))


def _decode(kind: type, value: Any) -> Any:
    if kind is Secret:
        if not isinstance(value, str) or not value:
            raise ValueError("expected a string that is not empty")
        return Secret(value)
    raise NotImplementedError(kind)


def _schema(kind: type) -> dict[str, Any]:
    if kind is Secret:
        return {"type": "string", "format": Config.SECRET_FORMAT, "writeOnly": True, "minLength": 1}
    raise NotImplementedError(kind)
