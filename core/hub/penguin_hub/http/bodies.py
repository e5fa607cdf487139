"""Request bodies: strict JSON or a problem, whatever the bytes.

Litestar's own decoding takes `text/plain` as JSON, lets numbers arrive as strings, and answers deep nesting with 500.
`StrictBody` stands in its place for every route that declares `data`.
"""

import json
import re
from typing import Any, NoReturn

import msgspec
from litestar.dto import AbstractDTO, DTOConfig
from litestar.typing import FieldDefinition

from penguin_hub.platform.errors import FieldError, HubError, Invalid

MAX_BODY = 1024 * 1024
"""Bytes; a route that takes more says so with `opt={"max_body": n}`."""


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a client may send: a field that we do not know is refused, not ignored."""


class Malformed(HubError):
    """The body is not the JSON it claims to be."""

    code = "malformed_body"


class TooLarge(HubError):
    """The body is larger than the route takes."""

    code = "body_too_large"


class UnsupportedMediaType(HubError):
    """The body is not JSON by its own header."""

    code = "unsupported_media_type"


def decode(raw: bytes, into: Any) -> Any:
    """Parse one JSON document into `into` (a struct or a union of structs).

    Raises Malformed (not UTF-8, not JSON, nested too deep, NaN, a key that comes twice) or Invalid with JSON Pointers.
    """
    _refuse_what_json_parsers_let_through(raw)
    try:
        return msgspec.json.decode(raw, type=into)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("The body is not valid JSON.") from error


def invalid(error: msgspec.ValidationError, prefix: str = "") -> Invalid:
    """A msgspec complaint as ours: `... - at `$.tags[0]`` becomes the pointer `#/tags/0`."""
    text, _, path = str(error).partition(" - at `")
    # Of a free mapping msgspec does not say which: `at `$.tags[...]``, `at `key` in `$.tags``.
    path = path.rstrip("`").rpartition("` in `")[2].removeprefix("$").replace("[...]", "")
    pointer = re.sub(r"\[(\d+)\]|\.", lambda m: f"/{m[1]}" if m[1] else "/", path)
    if missing := re.search(r"(?:missing required field|unknown field) `([^`]*)`", text):
        pointer += "/" + missing[1].replace("~", "~0").replace("/", "~1")
    code = next((code for words, code in _CODES if words in text), "type")
    return Invalid(
        f"{prefix + pointer or 'The body'}: {text}." if pointer or prefix else f"{text}.",
        errors=(FieldError(f"#{prefix}{pointer}", code, text),),
    )


_CODES = (
    ("missing required", "required"),
    ("unknown field", "unknown"),
    ("matching regex", "format"),
    ("length", "length"),
    ("enum value", "choice"),
    ("Expected `int`", "type"),
    (">=", "range"),
    ("<=", "range"),
)


class _NotStrict(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotStrict("a key comes twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise _NotStrict(f"{name} is not JSON")


_strict = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)


def _refuse_what_json_parsers_let_through(raw: bytes) -> None:
    """Duplicate keys mean different things to different readers; NUL is what PostgreSQL's text cannot hold."""
    try:
        value = _strict.decode(raw.decode("utf-8"))
    except _NotStrict as error:
        raise Malformed(f"The body is not valid JSON: {error}.") from error
    except UnicodeDecodeError as error:
        raise Malformed("The body is not UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise Malformed("The body is not valid JSON.") from error
    if b"\\u" in raw and (b"\\u0000" in raw or b"\\ud" in raw.lower()):
        _refuse_unstorable(value, "#")


def _refuse_unstorable(value: Any, pointer: str) -> None:
    match value:
        case str():
            if "\0" in value:
                raise Invalid.field(pointer, "nul", "Text must not contain NUL.")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Malformed("The body holds a lone surrogate.") from None
        case list():
            for index, item in enumerate(value):
                _refuse_unstorable(item, f"{pointer}/{index}")
        case dict():
            for key, item in value.items():
                _refuse_unstorable(key, pointer)
                _refuse_unstorable(item, f"{pointer}/{key}")


class StrictBody(AbstractDTO[Any]):
    """Litestar's hook for decoding a body by other means than its own. Reads nothing but JSON."""

    config = DTOConfig()
    _annotations: dict[str, Any] = {}

    def decode_bytes(self, value: bytes) -> Any:
        handler = self.asgi_connection.route_handler
        content_type = self.asgi_connection.headers.get("content-type", "")
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise UnsupportedMediaType("Send JSON, with `Content-Type: application/json`.")
        return decode(value, self._annotations[handler.handler_id])

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        cls._annotations[handler_id] = field_definition.annotation

    @classmethod
    def is_supported_model_type_field(cls, field_definition: FieldDefinition) -> bool:
        return True

    @classmethod
    def create_openapi_schema(cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any) -> Any:
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Any:
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        return False
