"""Pages of docs/api and docs/webhooks whose commands are run: each answer is the one that stands below its command."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
from penguin_hub.delivery import client, destinations, retry, schemas, service, service_log
from penguin_hub.events import schemas as events
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
        assert 'id="validation_failed"' in await terminal.run('curl -sSf "$HUB/docs/errors"')
        # One message, although the page sent it twice and a changed one once.
        sent = await terminal.run('curl -sS "$HUB/api/v1/emails?offset=0" -H "Authorization: Bearer $TEST_KEY"')
        assert [message["subject"] for message in json.loads(sent)["data"]] == ["Order 1001"]


async def test_the_webhooks_page_says_what_the_hub_takes(start_hub: Callable[..., Hub], tmp_path: Path) -> None:
    hub = start_hub()
    page = {block.name: block.code for block in pages.blocks("webhooks/index.md")}
    async with shell(tmp_path) as terminal:
        await terminal.run(f"export HUB={hub.url} LIVE_KEY={hub.live_key}")
        made = json.loads(await terminal.run(page["create"]))
        assert made["secret"].startswith("whsec_")
        assert json.loads(await terminal.run(page["test"]))["type"] == "email.bounced"
        assert json.loads(await terminal.run(page["publish"]))["id"] == "order-1001-paid"
        filtered = {"url": "https://example.com/", "events": ["*"], "filter": json.loads(page["filter"])}
        (tmp_path / "filtered.json").write_text(json.dumps(filtered))
        again = page["create"].replace("| tee webhook.json", "-d @filtered.json")
        taken = await terminal.run(re.sub(r"-d '[^']*'", "", again))
        assert json.loads(taken)["filter"] == filtered["filter"]


def test_the_webhooks_page_has_the_limits_of_the_code() -> None:
    def most(of: Any) -> float:
        (meta,) = (part for part in get_args(of) if isinstance(part, msgspec.Meta))
        return float(meta.max_length or meta.le or 0)

    rows = {
        "endpoints of a tenant": str(service.MAX_WEBHOOKS),
        "patterns in `events`": f"{most(schemas.Patterns):.0f}",
        "headers of your own at an endpoint": f"{most(schemas.Headers):.0f}",
        "deliveries at once to an endpoint": f"{schemas.DEFAULT_CONCURRENCY}, up to {most(schemas.Concurrency):.0f}",
        "retries": f"{retry.MAX_DELAYS}, each at most {most(schemas.Delay) / 86_400:.0f} days after the one before",
        "time for an answer, all in all": f"{client.DEADLINE_SECONDS:.0f} seconds",
        "answer that is kept": f"{client.MAX_BODY // 1024} KiB",
        "`data` of an event": f"{events.MAX_DATA // 1024} KiB",
        "events in one request": f"{events.MAX_BATCH:,}",
        "signing secrets that are good at once": str(service.MAX_SECRETS),
        "reach of a recovery": f"{service_log.RECOVERY_DAYS} days",
    }
    text = (pages.DOCS / "webhooks/index.md").read_text()
    assert [row for row in rows.items() if f"| {row[0]} | {row[1]} |\n" not in text] == []
    assert f"user-agent: {destinations.USER_AGENT}\n" in text
    assert f"after {', '.join(f'{delay:.0f}' for delay in retry.DEFAULT[:-1])} and {retry.DEFAULT[-1]:.0f} sec" in text
