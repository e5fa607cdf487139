"""`penguin doctor`: is this machine fit to run a hub, and are its servers?"""

import argparse
import asyncio
import os

from penguin_hub.cli import common

_MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "doctor",
        help="check this machine, the servers and the settings",
        description="Checks Python, the data folder, the port, PostgreSQL, Redis, the secret store, the clock and "
        "limits, and says for each what to do. Changes nothing. Ends with 1 when something fails.",
    )
    common.data_argument(parser)
    common.address_arguments(parser)
    common.json_argument(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from penguin_hub.doctor import examine  # noqa: PLC0415 -- see penguin_hub.cli

    common.log_to_stderr(quiet=True)
    findings = asyncio.run(examine(arguments.data.absolute(), arguments.host, arguments.port, os.environ))
    healthy = all(finding.state != "fail" for finding in findings)
    if arguments.json:
        common.say_struct({"healthy": healthy, "checks": findings})
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            common.say(f"{_MARKS[finding.state]}  {finding.check:<{width}}  {finding.what}")
            if finding.advice:
                common.say(f"{'':{width + 8}}-> {finding.advice}")
    return 0 if healthy else 1
