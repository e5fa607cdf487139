"""The form of keys."""

from hypothesis import given
from hypothesis import strategies as st
from penguin_hub.keys.format import PATTERN, generate, is_key


def test_a01_keys_have_the_form_and_are_never_the_same() -> None:
    keys = {generate("live") for _ in range(500)} | {generate("test") for _ in range(500)}
    assert len(keys) == 1000
    assert all(PATTERN.fullmatch(key) and is_key(key) for key in keys)
    used = set("".join(key[8:] for key in keys))
    assert len(used) == 62


@given(st.text(max_size=60))
def test_nothing_else_is_a_key(text: str) -> None:
    assert is_key(text) == (PATTERN.fullmatch(text) is not None)
    assert not is_key(generate("live") + "\n")
    assert not is_key(generate("live")[:-1] + "é")
