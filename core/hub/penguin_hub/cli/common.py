"""What the commands share: arguments, settings, output."""

import argparse
import json as json_module
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from penguin_hub.settings import Settings


def data_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("PENGUIN_DATA", ".penguin")),
        metavar="DIR",
        help="the hub's data folder (default: PENGUIN_DATA, or ./.penguin)",
    )


def json_argument(parser: argparse.ArgumentParser, what: str = "print one JSON value instead of text") -> None:
    parser.add_argument("--json", action="store_true", help=what)


def address_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0 takes a free one (default: 8080)")


def environment() -> Mapping[str, str]:
    """The environment, with references into a Vault replaced by what they name. Raises SettingsError."""
    if not any(value.startswith("vault:") for value in os.environ.values()):
        return os.environ
    from penguin_hub.vault.references import resolve  # noqa: PLC0415 -- a Vault client, for those who have a Vault

    return resolve(os.environ)


def settings(arguments: argparse.Namespace) -> "Settings":
    """Raises SettingsError."""
    from penguin_hub import settings as module  # noqa: PLC0415 -- commands that need no settings need no import

    return module.load(environment(), data=arguments.data)


def log_to_stderr(*, json: bool = False, quiet: bool = False) -> None:
    """`quiet`: warnings and errors only, for commands whose answer is all that is wanted."""
    from penguin_hub.platform import logging  # noqa: PLC0415 -- takes a moment, which `--help` need not

    logging.configure(json=True if json else None, level=30 if quiet else 20)  # logging.WARNING, logging.INFO


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say_json(value: Any) -> None:
    say(json_module.dumps(value, ensure_ascii=False, default=str))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns for a terminal."""
    cells = [list(heads), *([("" if item is None else str(item)) for item in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return "\n".join(
        "  ".join(item.ljust(width) for item, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def say_struct(value: Any) -> None:
    """A msgspec struct, or a list of them, as JSON."""
    import msgspec  # noqa: PLC0415 -- commands that print no struct need no import

    say(msgspec.json.encode(value).decode())


def convert(values: Mapping[str, Any], kind: type[T]) -> T:
    """Arguments as the struct that the API would make of them. Raises StartupError with what is wrong."""
    import msgspec  # noqa: PLC0415 -- commands that make no struct need no import

    from penguin_hub.platform.embedded.errors import StartupError  # noqa: PLC0415 -- likewise

    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise StartupError(f"{error}.") from error
