"""`penguin up`: a whole hub on this machine."""

import argparse
import asyncio

from penguin_hub.cli import common


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "up",
        help="run a whole hub here: servers, API and worker",
        description="Runs a whole hub on this machine until it is interrupted: PostgreSQL and Valkey inside the data "
        "folder (unless DATABASE_URL and REDIS_URL name servers), the API and the worker, each started again when it "
        "ends. The first start makes a sample tenant and prints its keys; later ones print them again.",
    )
    common.data_argument(parser)
    common.address_arguments(parser)
    common.json_argument(parser, "print exactly one JSON line on standard output when ready; logs go to standard error")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from penguin_hub.runtime.up import up  # noqa: PLC0415 -- see penguin_hub.cli

    common.log_to_stderr()
    asyncio.run(up(arguments.data, arguments.host, arguments.port, common.environment(), as_json=arguments.json))
    return 0
