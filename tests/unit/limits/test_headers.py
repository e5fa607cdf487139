"""A22: the limit's fields are structured fields (RFC 9651): a list with one string and its integer parameters."""

import math
import re

from hypothesis import given
from hypothesis import strategies as st
from penguin_hub.limits.headers import ANONYMOUS, fields

_MEMBER = re.compile(r'"([\x20-\x21\x23-\x5b\x5d-\x7e]*)"((?:;[a-z*][a-z0-9_.*-]*=-?\d{1,15})*)')


def parse(value: bytes) -> tuple[str, dict[str, int]]:
    """The one member of the list."""
    match = _MEMBER.fullmatch(value.decode("ascii"))
    assert match is not None, value
    parameters = (part.partition("=") for part in match[2].split(";") if part)
    return match[1], {name: int(number) for name, _, number in parameters}


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.floats(0, 60, allow_nan=False))
def test_a22_the_fields_parse(quota: int, remaining: int, more: float) -> None:
    (policy_name, policy), (limit_name, limit) = fields(quota, remaining, more)
    assert (policy_name, limit_name) == (b"ratelimit-policy", b"ratelimit")
    assert parse(policy) == ("default", {"q": quota, "w": 60})
    name, found = parse(limit)
    assert (name, found["r"]) == ("default", remaining)
    assert found["t"] == math.ceil(more)


def test_without_a_credential_there_is_no_quota() -> None:
    assert parse(ANONYMOUS[0][1]) == ("default", {"q": 0, "w": 60})
    assert parse(ANONYMOUS[1][1]) == ("default", {"r": 0, "t": 60})
