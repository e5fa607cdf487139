"""Identifiers: a three-letter prefix and 26 characters that sort by time, such as `con_06f3k2...`.

The characters are a UUIDv7 (RFC 9562) in lower-case base32hex, an alphabet whose byte order is the order of the
values it writes. So ids made later sort later, and a table can be partitioned by its ids (see `bounds_for_day`).
"""

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from uuid_utils import uuid7

PATTERN: Final = re.compile(r"[a-z]{3}_[0-9a-v]{26}")


def new(prefix: str) -> str:
    """A fresh id; ids made by one process in one millisecond still sort in the order they were made."""
    return f"{prefix}_{_encode(uuid7().bytes)}"


def is_id(value: object, prefix: str) -> bool:
    """Whether `value` could be an id of that kind. Costs no look-up, so that a malformed id is simply not found."""
    return isinstance(value, str) and value.startswith(prefix + "_") and PATTERN.fullmatch(value) is not None


def created_at(value: str) -> datetime:
    """The moment (UTC, to the millisecond) that is written into an id."""
    raw = base64.b32hexdecode(value.split("_", 1)[1].upper() + "======")
    return datetime.fromtimestamp(int.from_bytes(raw[:6], "big") / 1000, tz=UTC)


def lowest_at(prefix: str, moment: datetime) -> str:
    """The lowest id that can be made at `moment`: a bound for ranges over ids."""
    return f"{prefix}_{_encode(int(moment.timestamp() * 1000).to_bytes(6, 'big') + bytes(10))}"


def bounds_for_day(prefix: str, day: datetime) -> tuple[str, str]:
    """The half-open range of ids `[first, past the last)` that are made on the UTC day of `day`."""
    start = day.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return lowest_at(prefix, start), lowest_at(prefix, start + timedelta(days=1))


def _encode(raw: bytes) -> str:
    return base64.b32hexencode(raw).decode("ascii").rstrip("=").lower()
