"""The pages of docs/api whose commands are run: each answer is the one that stands below its command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import pages
from support.hub import Hub
from support.terminal import shell


def same(shown: Any, real: Any) -> bool:
    """`...` on the page stands for anything; all else is exact."""
    match shown, real:
        case "...", _:
            return True
        case dict(), dict():
            return shown.keys() == real.keys() and all(same(shown[name], real[name]) for name in shown)
        case list(), list():
            return len(shown) == len(real) and all(map(same, shown, real))
    return bool(shown == real)


async def test_the_answers_on_the_pages_are_those_of_the_hub(start_hub: Callable[..., Hub], tmp_path: Path) -> None:
    hub = start_hub()
    async with shell(tmp_path) as terminal:
        await terminal.run(f"export HUB={hub.url} LIVE_KEY={hub.live_key} TEST_KEY={hub.test_key}")
        for page in ("errors", "pagination", "idempotency"):
            blocks = pages.blocks(f"api/{page}.md")
            assert blocks
            for command, answer in zip(blocks[::2], blocks[1::2], strict=True):
                assert (command.language, answer.language) in {("sh", "json"), ("sh", "text")}
                said = await terminal.run(command.code)
                if answer.language == "json":
                    assert same(json.loads(answer.code), json.loads(said)), f"{page}: {said}"
                else:
                    assert said.split() == answer.code.split(), page
        # One message, although the page sent it twice and a changed one once.
        sent = await terminal.run('curl -sS "$HUB/api/v1/emails?offset=0" -H "Authorization: Bearer $TEST_KEY"')
        assert [message["subject"] for message in json.loads(sent)["data"]] == ["Order 1001"]
