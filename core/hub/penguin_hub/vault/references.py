"""Values of the environment that stand in a Vault: `vault:PATH` and `vault:PATH#FIELD`.

PATH starts with the mount, as in `vault:secret/penguinmails/api-keys/postmark`. Without FIELD the secret's only field
is meant, or the one named `value`. They are resolved before any setting is parsed, so only VAULT_ADDR and its login,
which cannot be references themselves, say where to look. The embedded store cannot be asked: it lies in the database
that DATABASE_URL has yet to name.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penguin_hub.platform.errors import HubError, SettingsError
from penguin_hub.vault.client import TOTAL_SECONDS, Refused, VaultClient

PREFIX: Final = "vault:"


def resolve(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with every reference replaced by what it names. Blocks; for start-up only.

    Raises SettingsError, which names the variable and the path, never a value.
    """
    references = {name: value for name, value in environ.items() if value.startswith(PREFIX)}
    resolved = dict(environ)
    if not references:
        return resolved
    for name in references:
        if name.startswith("VAULT_"):
            raise SettingsError(f"{name} tells how to reach the Vault, so it cannot itself be a reference into it.")
    if not environ.get("VAULT_ADDR"):
        name = next(iter(references))
        raise SettingsError(f"{name} is a reference into a Vault: set VAULT_ADDR and its login as well.")
    client = VaultClient(
        environ["VAULT_ADDR"],
        token=environ.get("VAULT_TOKEN"),
        role_id=environ.get("VAULT_ROLE_ID"),
        secret_id=environ.get("VAULT_SECRET_ID"),
        namespace=environ.get("VAULT_NAMESPACE"),
        cacert=environ.get("VAULT_CACERT"),
    )
    secrets: dict[str, dict[str, str]] = {}
    try:
        for name, reference in references.items():
            path, _, field = reference.removeprefix(PREFIX).partition("#")
            if path not in secrets:
                secrets[path] = _read(client, name, path, environ.get("VAULT_MOUNT", "secret"))
            resolved[name] = _chosen(name, path, field, secrets[path])
    finally:
        client.close()
    return resolved


def _read(client: VaultClient, name: str, path: str, mount: str) -> dict[str, str]:
    mount = mount if path.startswith(f"{mount}/") else path.partition("/")[0]
    place = path.removeprefix(f"{mount}/")
    if not place or not mount or place == path or any(part in ("", ".", "..") for part in place.split("/")):
        raise SettingsError(f"{name}: {path!r} is not a path in a Vault such as secret/penguinmails/database.")

    def read(hvac: Any) -> Any:
        return hvac.secrets.kv.v2.read_secret_version(place, mount_point=mount, raise_on_deleted_version=True)

    try:
        answer = client.call(read, retry=True, deadline=time.monotonic() + TOTAL_SECONDS)
    except Refused as error:
        hint = "there is no such secret in a KV version 2 mount" if error.status == 404 else "the Vault refuses it"
        raise SettingsError(f"{name}: {path}: {hint} ({error.status}).") from None
    except HubError as error:
        raise SettingsError(f"{name}: {path} cannot be read. {error.detail}") from None
    try:
        return msgspec.convert(answer, _Answer).data.data
    except msgspec.ValidationError:
        raise SettingsError(f"{name}: {path} holds values that are not text.") from None


def _chosen(name: str, path: str, field: str, values: dict[str, str]) -> str:
    if field:
        if field not in values:
            raise SettingsError(f"{name}: {path} has no field {field!r}.")
        return values[field]
    if len(values) == 1:
        return next(iter(values.values()))
    if "value" not in values:
        raise SettingsError(f"{name}: {path} has {len(values)} fields; name one with {path}#FIELD.")
    return values["value"]


class _Values(msgspec.Struct):
    data: dict[str, str]


class _Answer(msgspec.Struct):
    data: _Values
