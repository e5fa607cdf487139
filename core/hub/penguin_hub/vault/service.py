"""Secrets: one contract, two stores. With VAULT_ADDR a HashiCorp Vault or OpenBao, without it the embedded store.

The contract is that of Vault's KV version 2, so that moving to a Vault is a copy:

- A write makes a new version; the last MAX_VERSIONS are kept. `cas=0` creates, `cas=n` replaces version n and nothing
  else, `cas=None` replaces whatever is there.
- `delete` hides the latest version and keeps its number: the next write needs `cas` of that number.
- `destroy` removes what versions held, for good. `erase` forgets the path; its numbers start again at 1.
- Deleting, destroying and erasing what is not there is no error.

Nothing is cached. Reads of one path that are under way at the same time share one answer, so a reader may see a value
that another process replaced during the read, and never one that this process replaced before it.
"""

import builtins
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from penguin_hub.vault.errors import SecretTooLarge

MAX_VERSIONS: Final = 10
MAX_BYTES: Final = 256 * 1024
"""Of one secret as JSON; a Vault's storage ends at about 1 MiB an entry."""


class Secret(msgspec.Struct, frozen=True):
    """One version of a secret, decrypted. Its values stand in no repr."""

    fields: dict[str, str]
    version: int
    created_at: datetime

    def __repr__(self) -> str:
        return f"Secret(version={self.version})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("version", self.version)]


class SecretVersion(msgspec.Struct, frozen=True):
    """What is known about a version without its values."""

    version: int
    created_at: datetime
    deleted_at: datetime | None
    destroyed: bool


class SecretStore(Protocol):
    """Every method may raise VaultUnavailable (or DatabaseUnavailable), VaultForbidden, and ValueError for a tenant or
    path that is not of the form `vault.paths` describes."""

    async def read(self, tenant: str, path: str, *, version: int | None = None) -> Secret:
        """The latest version, or that one. Raises SecretNotFound, SecretDamaged."""
        ...

    async def write(self, tenant: str, path: str, fields: Mapping[str, str], *, cas: int | None) -> int:
        """The number of the version it made. Raises CasConflict, SecretTooLarge."""
        ...

    async def delete(self, tenant: str, path: str) -> None: ...

    async def destroy(self, tenant: str, path: str, versions: Sequence[int]) -> None: ...

    async def erase(self, tenant: str, path: str) -> None: ...

    async def list(self, tenant: str, prefix: str) -> list[str]:
        """The names directly under `prefix`, sorted; what has more under it ends with `/`. Names deleted ones too."""
        ...

    async def versions(self, tenant: str, path: str) -> builtins.list[SecretVersion]:
        """The versions that are kept, oldest first. Raises SecretNotFound."""
        ...

    async def check(self) -> None:
        """Raises what makes the store unusable now."""
        ...

    async def close(self) -> None: ...


def encoded(fields: Mapping[str, str]) -> bytes:
    """The fields as JSON. Raises SecretTooLarge, and ValueError for no fields at all."""
    if not fields or not all(isinstance(part, str) for pair in fields.items() for part in pair):
        raise ValueError("a secret is a non-empty mapping of text to text")
    raw = msgspec.json.encode(dict(fields))
    if len(raw) > MAX_BYTES:
        raise SecretTooLarge(f"A secret may hold {MAX_BYTES} bytes at most.")
    return raw
