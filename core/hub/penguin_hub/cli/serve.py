"""`penguin serve` and `penguin worker`: the two processes of a hub, one by one, for production."""

import argparse
import asyncio
import os
import signal

from penguin_hub.cli import common


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser(
        "serve",
        help="run the API",
        description="Runs the API until SIGTERM or SIGINT; requests that have begun are answered first. Servers come "
        "from DATABASE_URL and REDIS_URL, or from the hub that `penguin up` runs in the data folder. Run "
        "`penguin migrate` first.",
    )
    common.data_argument(serve)
    common.address_arguments(serve)
    serve.add_argument(
        "--workers", type=_positive, default=1, metavar="N", help="processes that share the port (default: 1)"
    )
    # For the processes of one hub, which the kernel shares connections out to.
    serve.add_argument("--reuse-port", action="store_true", help=argparse.SUPPRESS)
    common.json_argument(serve, "log JSON also on a terminal")
    serve.set_defaults(run=_serve)

    worker = commands.add_parser(
        "worker",
        help="run the worker: deliveries, inbound webhooks, e-mails, schedules",
        description="Runs the worker until SIGTERM or SIGINT; what it has begun is finished or given back first. Any "
        "number may run side by side. Servers come from DATABASE_URL and REDIS_URL, or from the hub that `penguin up` "
        "runs in the data folder.",
    )
    common.data_argument(worker)
    common.json_argument(worker, "log JSON also on a terminal")
    worker.set_defaults(run=_worker)


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 64:
        raise argparse.ArgumentTypeError("a number from 1 to 64")
    return number


def _serve(arguments: argparse.Namespace) -> int:
    from penguin_hub.runtime import ports  # noqa: PLC0415 -- see penguin_hub.cli

    common.log_to_stderr(json=arguments.json)
    port = arguments.port if arguments.reuse_port else ports.claim(arguments.host, arguments.port)
    settings = common.settings(arguments)
    if arguments.workers > 1:
        from penguin_hub.runtime.several import serve  # noqa: PLC0415 -- see penguin_hub.cli

        asyncio.run(serve(arguments.workers, arguments.data, arguments.host, port, os.environ))
    else:
        from penguin_hub.serve import run  # noqa: PLC0415 -- see penguin_hub.cli

        run(settings, arguments.host, port)
    return 0


def _worker(arguments: argparse.Namespace) -> int:
    import uvloop  # noqa: PLC0415 -- see penguin_hub.cli

    from penguin_hub import worker  # noqa: PLC0415 -- see penguin_hub.cli

    common.log_to_stderr(json=arguments.json)
    settings = common.settings(arguments)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await worker.run(settings, stop)

    uvloop.run(run())
    return 0
