"""docs/quickstart.md, followed to the letter: its commands in one shell, in their order, against a hub of its own.

Only what a reader would change is changed: the keys that his hub printed, and a port that is free. `sleep` waits for
what the page waits for.
"""

import asyncio
import json
import shlex
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
from support import pages
from support.hub import Hub
from support.terminal import documents, shell

PAGE: Final = "quickstart.md"
BLOCKS: Final = {block.name: block.code for block in pages.blocks(PAGE)}
# What five recipients by these names make the sandbox do.
HEARD: Final = Counter(
    {
        "contact.created": 1,
        "email.sent": 5,
        "email.delivered": 4,
        "email.opened": 2,
        "email.clicked": 1,
        "email.bounced": 1,
        "email.complained": 1,
    }
)
WAIT: Final = f"""
sleep() {{
  for _ in $(seq 600); do
    [ "$(sort -u received.txt | wc -l)" -ge {HEARD.total()} ] && return
    command sleep 0.1
  done
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first_command() -> dict[str, str]:
    """The variables that the page starts the hub with."""
    *words, uv, run, penguin, up = shlex.split(BLOCKS["up"])
    assert [uv, run, penguin, up] == [".tools/bin/uv", "run", "penguin", "up"]
    return dict(word.split("=", 1) for word in words)


async def test_the_quickstart_does_what_it_says(start_hub: Callable[..., Hub], tmp_path: Path) -> None:
    # Not the fixture's own permission to call this machine: the page must give it.
    hub = start_hub(extra={"PENGUIN_DESTINATION_ALLOW": "", **first_command()})
    keys = BLOCKS["keys"]
    for shown, real in {
        "HUB=http://127.0.0.1:8080\n": f"HUB={hub.url}\n",
        "LIVE_KEY=pm_live_...": f"LIVE_KEY={hub.live_key}",
        "TEST_KEY=pm_test_...": f"TEST_KEY={hub.test_key}",
    }.items():
        assert keys.count(shown) == 1
        keys = keys.replace(shown, real)
    (tmp_path / "receiver.py").write_text(BLOCKS["receiver.py"])
    port = str(free_port())

    async with shell(tmp_path) as terminal:
        await terminal.run(WAIT + keys)
        await terminal.run(BLOCKS["webhook"].replace("3000", port))
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=1):
                break
            await asyncio.sleep(0.1)

        made = await terminal.run(BLOCKS["contact"])
        assert json.loads(made)["email"] == "ada@example.com"
        assert await terminal.run(BLOCKS["contact"]) == made
        sent = documents(await terminal.run(BLOCKS["messages"]))
        assert [answer["status"] for answer in sent] == ["queued"] * 5

        lines = set((await terminal.run(BLOCKS["received"])).splitlines())
        assert Counter(line.split()[0] for line in lines) == HEARD
        assert "email.bounced bounced@sandbox.example" in lines
        assert "email.complained complained@sandbox.example" in lines

        timeline = json.loads(await terminal.run(BLOCKS["timeline"]))
        assert timeline["id"] == sent[-1]["id"]
        assert timeline["status"] == "complained"
        types = [event["type"] for event in timeline["events"]]
        assert types[-3:] == ["email.sent", "email.delivered", "email.complained"]

        suppressed = json.loads(await terminal.run(BLOCKS["suppressions"]))["data"]
        assert {(row["email"], row["reason"]) for row in suppressed} == {
            ("complained@sandbox.example", "complaint"),
            ("bounced@sandbox.example", "hard_bounce"),
        }

        # The receiver knows of a delivery a moment before its outcome is written.
        for _ in range(100):
            deliveries = json.loads(await terminal.run(BLOCKS["deliveries"]))
            if all(row["status"] == "succeeded" for row in deliveries["data"]):
                break
            await asyncio.sleep(0.1)
        assert [row["status"] for row in deliveries["data"]] == ["succeeded"] * 5
        assert all(row["attempts"] >= 1 for row in deliveries["data"])
        again = documents(await terminal.run(BLOCKS["messages"]))
        assert [answer["status"] for answer in again] == ["queued"] * 3 + ["suppressed"] * 2

        started = terminal.children()
        assert any("receiver.py" in " ".join(child.cmdline()) for child in started)
        await terminal.run(BLOCKS["end"])
        _, alive = psutil.wait_procs(started, timeout=10)
        assert alive == []


def test_every_block_of_the_page_has_its_place_in_the_test() -> None:
    order = ["up", "keys", "receiver.py", "webhook", "contact", "messages", "received", "timeline", "suppressions"]
    assert [block.name for block in pages.blocks(PAGE)] == [*order, "deliveries", "end"]
