"""Which endpoints an event goes to: types with wildcards, then filters. Pure, and bounded in time whatever the data.

A filter is a JSON object; every member must hold:

    {"workspaces": ["wsp_..."], "campaigns": ["cmp_..."], "tags": ["vip"], "environment": "live",
     "data": {"contact.lead_score": {"gte": 50}, "email.domain": ["a.com", "b.com"], "plan": "pro"}}

`tags` holds when the contact has one of them. In `data` a path is member names joined by dots; a plain value means
equal, a list one of, an object its operators. A path that leads nowhere, or to a value of another type, does not match.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from penguin_hub.http.bodies import Input

# Told to the tenant as events of their own. `*` does not cover them: what is wrong with an endpoint is not sent there
# unless somebody asked for it. When their own delivery fails nothing more is said.
OPERATIONAL: Final = frozenset({"endpoint.disabled", "endpoint.warning", "message.exhausted"})

Scalar = str | int | float | bool | None
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Number = int | float


class Condition(Input, frozen=True, kw_only=True, omit_defaults=True):
    """Operators on one value; all that are given must hold."""

    eq: Scalar | msgspec.UnsetType = msgspec.UNSET
    ne: Scalar | msgspec.UnsetType = msgspec.UNSET
    in_: Annotated[list[Scalar], msgspec.Meta(max_length=100)] | msgspec.UnsetType = msgspec.field(
        default=msgspec.UNSET, name="in"
    )
    gt: _Number | msgspec.UnsetType = msgspec.UNSET
    gte: _Number | msgspec.UnsetType = msgspec.UNSET
    lt: _Number | msgspec.UnsetType = msgspec.UNSET
    lte: _Number | msgspec.UnsetType = msgspec.UNSET
    exists: bool | msgspec.UnsetType = msgspec.UNSET
    prefix: Word | msgspec.UnsetType = msgspec.UNSET
    suffix: Word | msgspec.UnsetType = msgspec.UNSET
    contains: Scalar | msgspec.UnsetType = msgspec.UNSET


Path = Annotated[str, msgspec.Meta(pattern=r"^[^.\x00]{1,128}(\.[^.\x00]{1,128}){0,9}$")]


class Filter(Input, frozen=True, kw_only=True, omit_defaults=True):
    """What an event must be for an endpoint to hear of it. Empty: every event of the chosen types."""

    workspaces: Annotated[list[Word], msgspec.Meta(max_length=100)] = []
    campaigns: Annotated[list[Word], msgspec.Meta(max_length=100)] = []
    tags: Annotated[list[Word], msgspec.Meta(max_length=100)] = []
    environment: Literal["live", "test"] | None = None
    data: Annotated[dict[Path, Condition | list[Scalar] | Scalar], msgspec.Meta(max_length=20)] = {}


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The sides of an event that endpoints choose by. `data` is asked for only when a filter looks into it."""

    type: str
    workspace: str | None
    tags: Sequence[str]
    test: bool
    data: Callable[[], Mapping[str, Any]]


class Subscription(msgspec.Struct, frozen=True):
    """What one endpoint wants."""

    endpoint: str
    events: tuple[str, ...]
    filter: Filter
    polled: bool = False
    """Nothing is sent to it: it asks."""
    ordered: bool = False


def matches(subscription: Subscription, event: Subject) -> bool:
    """Whether the endpoint hears of this event."""
    return any(covers(pattern, event.type) for pattern in subscription.events) and passes(subscription.filter, event)


def covers(pattern: str, type: str) -> bool:
    """`email.*` covers `email.sent` and `email.link.clicked`; `*` covers everything but OPERATIONAL events."""
    if pattern == "*":
        return type not in OPERATIONAL
    return pattern == type or (pattern.endswith(".*") and type.startswith(pattern[:-1]))


def passes(wanted: Filter, event: Subject) -> bool:
    if wanted.workspaces and event.workspace not in wanted.workspaces:
        return False
    if wanted.environment and (wanted.environment == "test") is not event.test:
        return False
    if wanted.tags and not set(wanted.tags).intersection(event.tags):
        return False
    if wanted.campaigns and event.data().get("campaign_id") not in wanted.campaigns:
        return False
    return all(_holds(condition, _find(event.data(), path)) for path, condition in wanted.data.items())


class _Missing:
    """No such path. Equal to nothing."""


_MISSING: Final = _Missing()


def _find(data: Any, path: str) -> Any:
    for word in path.split("."):
        if not isinstance(data, Mapping) or word not in data:
            return _MISSING
        data = data[word]
    return data


def _same(value: Any, wanted: Any) -> bool:
    """Equal in JSON's sense: `true` is not 1, and 1 is 1.0."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return type(value) in (str, int, float, type(None)) and bool(value == wanted)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, limit: isinstance(value, int | float) and not isinstance(value, bool) and compare(value, limit)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": _same,
    "ne": lambda value, wanted: not _same(value, wanted),
    "in_": lambda value, wanted: any(_same(value, one) for one in wanted),
    "gt": _ordered(lambda value, limit: value > limit),
    "gte": _ordered(lambda value, limit: value >= limit),
    "lt": _ordered(lambda value, limit: value < limit),
    "lte": _ordered(lambda value, limit: value <= limit),
    "prefix": lambda value, part: isinstance(value, str) and value.startswith(part),
    "suffix": lambda value, part: isinstance(value, str) and value.endswith(part),
    "contains": lambda value, part: (
        (isinstance(value, str) and isinstance(part, str) and part in value)
        or (isinstance(value, list) and any(_same(item, part) for item in value))
    ),
}


def _holds(condition: Condition | list[Scalar] | Scalar, value: Any) -> bool:
    if isinstance(condition, list):
        return value is not _MISSING and any(_same(value, one) for one in condition)
    if not isinstance(condition, Condition):
        return value is not _MISSING and _same(value, condition)
    if condition.exists is not msgspec.UNSET and condition.exists is (value is _MISSING):
        return False
    given = {name: getattr(condition, name) for name in _OPERATORS}
    wanted = {name: operand for name, operand in given.items() if operand is not msgspec.UNSET}
    if value is _MISSING:
        return not wanted
    return all(_OPERATORS[name](value, operand) for name, operand in wanted.items())
