"""Lists: `limit`, `offset` or `cursor`, `sort_by`, `order`; answers `{data, next_cursor, has_more}` (+ `total`).

A cursor is the position of the last row by (sort value, id), sealed with a key and bound to the tenant, the route, the
sort and the filters: one that is changed, or used for another list, is refused, and it never skips or repeats a row
that was there throughout.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from litestar.params import Parameter

from penguin_hub.http.problems import BadParameter
from penguin_hub.platform.errors import FieldError

T = TypeVar("T")

MAX_LIMIT = 100
MAX_OFFSET = 10_000

Limit = Annotated[int, Parameter(ge=1, le=MAX_LIMIT, description="How many at most, 1 to 100.")]
Offset = Annotated[
    int | None,
    Parameter(ge=0, le=MAX_OFFSET, description="Skip so many; answers `total` too. For deep lists use `cursor`."),
]
Cursor = Annotated[str | None, Parameter(max_length=1024, description="`next_cursor` of the page before.")]
Order = Annotated[Literal["asc", "desc"], Parameter(description="Direction of `sort_by`.")]


class Page(msgspec.Struct, Generic[T], frozen=True, omit_defaults=True):
    """One page of a list."""

    data: list[T]
    has_more: bool
    next_cursor: str | None
    total: int | msgspec.UnsetType = msgspec.UNSET
    """Only where `offset` was given: counting is work."""


class Paging(msgspec.Struct, frozen=True, kw_only=True):
    """What a store needs to fetch one page: rows after `after` in the order of `sort_by`, id; `limit` + 1 of them."""

    limit: int = 20
    offset: int | None = None
    sort_by: str = "created_at"
    descending: bool = True
    after: tuple[Any, str] | None = None
    """(sort value, id) of the last row of the page before."""
    seal: bytes = b""

    def page(self, rows: Sequence[T], position: Callable[[T], tuple[Any, str]], total: int | None = None) -> Page[T]:
        """Cut the extra row off and say where the next page starts. `position` gives (sort value, id) of a row."""
        more = len(rows) > self.limit
        kept = list(rows[: self.limit])
        cursor = _encode(position(kept[-1]), self.seal) if more and kept else None
        return Page(kept, more, cursor, msgspec.UNSET if total is None else total)


class Pager:
    """Makes Paging from a request's parameters. One for the process, with the key that seals cursors."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def paging(
        self,
        *,
        tenant: str,
        route: str,
        limit: int,
        offset: int | None = None,
        cursor: str | None = None,
        sort_by: str = "created_at",
        order: str = "desc",
        filters: dict[str, Any] | None = None,
    ) -> Paging:
        """Raises BadParameter for a cursor that is not ours, or not of this list."""
        if cursor is not None and offset is not None:
            raise parameter("cursor", "exclusive", "Give `cursor` or `offset`, not both")
        bound = msgspec.json.encode([tenant, route, sort_by, order, sorted((filters or {}).items())])
        seal = hmac.digest(self._key, bound, hashlib.sha256)
        return Paging(
            limit=limit,
            offset=offset,
            sort_by=sort_by,
            descending=order == "desc",
            after=_decode(cursor, seal) if cursor is not None else None,
            seal=seal,
        )


def parameter(name: str, code: str, detail: str) -> BadParameter:
    """The refusal of one query parameter."""
    return BadParameter(f"{detail}.", errors=(FieldError(f"?{name}", code, detail),))


def _encode(position: tuple[Any, str], seal: bytes) -> str:
    value, row_id = position
    moment = isinstance(value, datetime)
    payload = msgspec.json.encode([value.isoformat() if moment else value, row_id, moment])
    return base64.urlsafe_b64encode(hmac.digest(seal, payload, hashlib.sha256)[:12] + payload).decode().rstrip("=")


def _decode(cursor: str, seal: bytes) -> tuple[Any, str]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        tag, payload = raw[:12], raw[12:]
        if not hmac.compare_digest(tag, hmac.digest(seal, payload, hashlib.sha256)[:12]):
            raise ValueError("not our seal")
        value, row_id, moment = msgspec.json.decode(payload, type=tuple[Any, str, bool])
        return (datetime.fromisoformat(value) if moment else value), row_id
    except (ValueError, msgspec.MsgspecError) as error:
        raise parameter("cursor", "invalid", "The cursor is not one of this list; start again without it") from error
