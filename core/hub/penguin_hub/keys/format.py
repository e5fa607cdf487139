"""The form of a key: `pm_live_` or `pm_test_` and 32 characters of base62, which is 190 bits of chance."""

import re
import secrets
import string
from typing import Final, Literal

_ALPHABET: Final = string.ascii_letters + string.digits
PATTERN: Final = re.compile(r"pm_(?:live|test)_[0-9A-Za-z]{32}")


def generate(environment: Literal["live", "test"]) -> str:
    """A new key."""
    return f"pm_{environment}_" + "".join(secrets.choice(_ALPHABET) for _ in range(32))


def is_key(text: str) -> bool:
    """Whether `text` could be a key; anything else is refused before it costs more than this."""
    return len(text) == 40 and PATTERN.fullmatch(text) is not None
