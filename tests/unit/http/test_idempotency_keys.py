"""The header's two forms."""

import pytest
from penguin_hub.http.idempotency import MAX_LENGTH, parsed
from penguin_hub.platform.errors import Invalid


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("8e03978e-40d5", "8e03978e-40d5"),
        ('"8e03978e-40d5"', "8e03978e-40d5"),
        ('"a \\"b\\" \\\\"', 'a "b" \\'),
        ("a b", "a b"),
        ("x" * MAX_LENGTH, "x" * MAX_LENGTH),
        ('"' + "x" * MAX_LENGTH + '"', "x" * MAX_LENGTH),
    ],
)
def test_a16_quoted_and_bare_are_the_same_key(value: str, key: str) -> None:
    assert parsed(value) == key


@pytest.mark.parametrize("value", ["", " ", '""', '"', '"a', 'a" ', "a\tb", "é", '"a\\b"', "x" * (MAX_LENGTH + 1)])
def test_a16_what_is_no_key_is_refused(value: str) -> None:
    with pytest.raises(Invalid):
        parsed(value)
