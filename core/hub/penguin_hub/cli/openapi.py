"""`penguin openapi`: the description of the REST API, from the code."""

import argparse
from pathlib import Path

from penguin_hub.cli import common


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "openapi",
        help="print the API's OpenAPI document",
        description="The OpenAPI 3.1 document of the REST API, made from the code: on standard output, or into a file. "
        "Needs no running hub.",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there instead")
    common.json_argument(parser, "with --out: say as JSON what was written (the document itself is always JSON)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    common.log_to_stderr(quiet=True)
    document = _document()
    if arguments.out is None:
        common.say(document)
        return 0
    arguments.out.write_text(f"{document}\n", encoding="utf-8")
    if arguments.json:
        common.say_json({"written": str(arguments.out)})
    else:
        common.say(f"Written to {arguments.out}.")
    return 0


def _document() -> str:
    import msgspec  # noqa: PLC0415 -- see penguin_hub.cli
    from litestar.serialization import encode_json  # noqa: PLC0415 -- see penguin_hub.cli

    from penguin_hub import settings  # noqa: PLC0415 -- see penguin_hub.cli
    from penguin_hub.asgi import create_app  # noqa: PLC0415 -- see penguin_hub.cli

    # The application opens nothing before it is started, so these name no server.
    unused = settings.build({}, data=Path(), database_url="postgresql://nobody:unused@/none", redis_url="unix:///none")
    app = create_app(unused)
    encoded = encode_json(app.openapi_schema.to_schema(), serializer=None)
    return msgspec.json.format(encoded, indent=2).decode()
