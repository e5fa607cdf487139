"""`penguin listen`: a tenant's events on a developer's machine, shown and forwarded as they happen."""

import argparse
import os
import signal
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

from penguin_hub.cli import common

if TYPE_CHECKING:
    from penguin_hub.cli import listening


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "listen",
        help="show a tenant's events and forward them to this machine",
        description="Shows a tenant's events as they happen and, with --forward, posts each to a server of yours, "
        "signed as a real delivery is. It makes an endpoint that is polled and deletes it at the end, so it works "
        "behind any firewall. A forward that fails is shown and not repeated. Needs a key with the scope "
        "manage_webhooks in PENGUIN_API_KEY.",
    )
    parser.add_argument(
        "--forward", metavar="URL", help="where to post the events, such as http://localhost:3000/hooks"
    )
    parser.add_argument(
        "--events",
        default="*",
        metavar="A,B",
        help="types or families, separated by commas (default: *, which is all but the hub's news about endpoints)",
    )
    parser.add_argument(
        "--url",
        default=os.environ.get("PENGUIN_URL", "http://127.0.0.1:8080"),
        help="the hub (default: PENGUIN_URL, or http://127.0.0.1:8080)",
    )
    parser.add_argument(
        "--key", default=os.environ.get("PENGUIN_API_KEY"), help="an API key (better: set PENGUIN_API_KEY)"
    )
    parser.add_argument(
        "--endpoint", metavar="ID", help="an endpoint of yours with mode poll, to be used and kept instead of a new one"
    )
    parser.add_argument(
        "--secret",
        default=os.environ.get("PENGUIN_WEBHOOK_SECRET"),
        help="sign with this secret (default: PENGUIN_WEBHOOK_SECRET, or a new one, which is printed)",
    )
    common.json_argument(parser, "print one JSON object a line: first what was set up, then each event")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from penguin_hub.cli import listening  # noqa: PLC0415 -- see penguin_hub.cli
    from penguin_hub.platform.embedded.errors import StartupError  # noqa: PLC0415 -- see penguin_hub.cli

    if not arguments.key:
        raise StartupError("Give a key with the scope manage_webhooks: set PENGUIN_API_KEY, or --key.")
    hub = listening.Hub(arguments.url, arguments.key)
    target = listening.Target(arguments.forward) if arguments.forward else None
    show = _as_json if arguments.json else _as_text
    events = [word.strip() for word in arguments.events.split(",") if word.strip()]
    signal.signal(signal.SIGTERM, _interrupt)
    with suppress(KeyboardInterrupt), listening.endpoint(hub, events, arguments.endpoint, arguments.secret) as made:
        _begin(arguments, made)
        for heard in listening.listen(hub, made, target):
            show(heard)
    return 0


def _begin(arguments: argparse.Namespace, made: "listening.Endpoint") -> None:
    if arguments.json:
        common.say_json({"ready": True, "endpoint": made.id, "secret": made.secret, "forward": arguments.forward})
        return
    common.say(f"Listening to {arguments.events} of {arguments.url}; Ctrl-C ends it.")
    if arguments.forward:
        common.say(f"Forwarding to {arguments.forward}, signed with {made.secret}")


def _as_json(heard: "listening.Heard") -> None:
    common.say_struct(heard)


def _as_text(heard: "listening.Heard") -> None:
    outcome = "" if heard.ms is None else f"  -> {heard.status or heard.error}  {heard.ms:.0f} ms"
    common.say(f"{heard.timestamp}  {heard.type:<22}  {heard.id}{outcome}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
