"""The command `penguin`: one module per group of commands, each imported only as far as its `--help` needs.

What a command needs of the hub is imported when it runs, so that `penguin --help` takes no longer than Python itself.
"""

import argparse
import sys
from collections.abc import Sequence

from penguin_hub import __version__
from penguin_hub.cli import doctor, keys, listen, migrate, openapi, plugin, serve, tenants, up
from penguin_hub.cli.problems import explain

GROUPS = (up, serve, migrate, doctor, openapi, keys, tenants, plugin, listen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 when something has to be put right (a sentence on standard error says what), 2 for
    a command that cannot be read, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog="penguin",
        description="The PenguinMails Integration Hub. `penguin up` runs a whole hub on this machine.",
        epilog="Settings come from the environment (DATABASE_URL, REDIS_URL, VAULT_ADDR, PENGUIN_ENV and others).",
    )
    parser.add_argument("--version", action="version", version=f"penguin {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in GROUPS:
        group.add(commands)
    parsed = parser.parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever reads our output has seen enough.
        sys.stderr.close()
        return 0
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        sys.stderr.write(f"penguin: {sentence}\n")
        return 1
    return code
