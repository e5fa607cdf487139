"""Documentation whose code is run: the fenced blocks of a page."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[2] / "docs"
_FENCE: Final = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """What stands between two fences. A second word after the language is the block's name."""

    language: str
    name: str
    code: str


def blocks(page: str) -> list[Block]:
    """All blocks of a page, whose path is relative to `docs`, in order."""
    found = []
    for match in _FENCE.finditer((DOCS / page).read_text(encoding="utf-8")):
        language, _, name = match["info"].strip().partition(" ")
        found.append(Block(language, name, match["code"]))
    return found


def block(page: str, name: str) -> str:
    """The code of the one block with this name."""
    (code,) = (one.code for one in blocks(page) if one.name == name)
    return code
