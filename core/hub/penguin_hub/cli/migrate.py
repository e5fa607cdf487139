"""`penguin migrate`: bring the database to this version."""

import argparse
import asyncio

from penguin_hub.cli import common


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "migrate",
        help="bring the database to this version",
        description="Makes the hub's restricted roles and runs the migrations that have not run. DATABASE_URL must "
        "name the database's owner, who may create roles. Safe to run again, and from several machines at once.",
    )
    common.data_argument(parser)
    common.json_argument(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from penguin_hub.migrate import migrate  # noqa: PLC0415 -- see penguin_hub.cli

    common.log_to_stderr()
    ran = asyncio.run(migrate(common.settings(arguments)))
    if arguments.json:
        common.say_json({"migrations": ran})
    else:
        common.say(f"{len(ran)} migrations ran." if ran else "The database is up to date.")
    return 0
