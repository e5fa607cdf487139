"""The list of checks, in the order they are shown."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from penguin_hub import settings as settings_module
from penguin_hub.doctor import machine, servers
from penguin_hub.doctor.finding import Finding, fail, ok
from penguin_hub.platform.errors import SettingsError
from penguin_hub.settings import Settings

__all__ = ["Finding", "examine"]


async def examine(data: Path, host: str, port: int, environ: Mapping[str, str]) -> list[Finding]:
    """All checks. Changes nothing; never raises because of what it finds."""
    found = [
        machine.python(),
        machine.descriptors(),
        machine.folder(data),
        machine.disk(data),
        machine.port(host, port, data),
    ]
    settings, finding = _settings(data, environ)
    found.append(finding)
    if settings is not None:
        groups = await asyncio.gather(servers.postgres(settings), servers.redis(settings), servers.secrets(settings))
        found += [finding for group in groups for finding in group]
    return found


def _settings(folder: Path, environ: Mapping[str, str]) -> tuple[Settings | None, Finding]:
    try:
        if any(value.startswith("vault:") for value in environ.values()):
            from penguin_hub.vault.references import resolve  # noqa: PLC0415 -- a Vault client, where there is a Vault

            environ = resolve(environ)
        settings = settings_module.load(environ, data=folder)
    except SettingsError as error:
        return None, fail("settings", "The settings are not complete or not right.", str(error))
    return settings, ok("settings", f"{settings.env}: every setting can be read.")
