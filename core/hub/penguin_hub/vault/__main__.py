"""`python -m penguin_hub.vault`: the operator's hand on the embedded store's keys. The hub may go on running."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from penguin_hub import settings as settings_module
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import HubError, SettingsError
from penguin_hub.settings import Settings
from penguin_hub.vault import open_store
from penguin_hub.vault.embedded import EmbeddedStore

Command = Callable[[EmbeddedStore, argparse.Namespace], Awaitable[str]]


async def _prepare(store: EmbeddedStore, _: argparse.Namespace) -> str:
    return f"Added {await store.prepare_kek()}: copy the key file to every node, then run rotate-kek."


async def _rotate_kek(store: EmbeddedStore, _: argparse.Namespace) -> str:
    wrapped = await store.rotate_kek()
    return f"Wrapped {wrapped} data keys by the active key. Keep a copy of the key file, apart from the backups."


async def _drop(store: EmbeddedStore, _: argparse.Namespace) -> str:
    dropped = await store.drop_unused_keks()
    return f"Removed {', '.join(dropped)}." if dropped else "Every key in the file is active, prepared or in use."


async def _rotate_dek(store: EmbeddedStore, arguments: argparse.Namespace) -> str:
    async for progress in store.rotate_dek(arguments.tenant):
        sys.stderr.write(f"{progress.done} of {progress.total}\n")
    return f"The secrets of {arguments.tenant} are sealed by a new data key."


COMMANDS: Final[dict[str, tuple[Command, str]]] = {
    "prepare-kek": (_prepare, "add a key-encryption key to the file without using it, for hubs on several nodes"),
    "rotate-kek": (_rotate_kek, "wrap every data key by the prepared key, or by a new one"),
    "drop-unused-keks": (_drop, "remove older keys that wrap nothing any longer (backups may still need them)"),
    "rotate-dek": (_rotate_dek, "re-encrypt one tenant's secrets under a new data key; run again to continue"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; what went wrong is one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m penguin_hub.vault", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, (command, description) in COMMANDS.items():
        action = actions.add_parser(name, help=description, description=description)
        action.set_defaults(command=command)
        if command is _rotate_dek:
            action.add_argument("tenant", help="a tenant's id, or `system`")
    parsed = parser.parse_args(arguments)
    try:
        said = asyncio.run(_run(settings_module.load(os.environ), parsed))
    except (SettingsError, HubError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return 0


async def _run(settings: Settings, parsed: argparse.Namespace) -> str:
    if settings.vault_addr:
        raise SettingsError(
            "VAULT_ADDR is set: a Vault rotates its own keys, and there is no embedded store to work on."
        )
    database = Database(settings.database_url, app_size=1, system_size=1)
    await database.open()
    try:
        store = await open_store(settings, database)
        assert isinstance(store, EmbeddedStore)  # noqa: S101 -- without VAULT_ADDR there is no other
        said: str = await parsed.command(store, parsed)
        await store.close()
    finally:
        await database.close()
    return said


if __name__ == "__main__":
    sys.exit(main())
