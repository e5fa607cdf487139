"""Secrets: one contract (`service`), kept by a Vault (`hashicorp`) or by our own database (`embedded`)."""

from penguin_hub.platform.db import Database
from penguin_hub.settings import Settings
from penguin_hub.vault.service import Secret, SecretStore, SecretVersion

__all__ = ["Secret", "SecretStore", "SecretVersion", "open_store"]


async def open_store(settings: Settings, database: Database) -> SecretStore:
    """The store that the environment asks for, opened; close it at the end.

    A Vault that is away does not stop the start. The embedded store raises KeyFileRefused (a SettingsError whose text
    says what to do: the process must not start) and DatabaseUnavailable.
    """
    if settings.vault_addr:
        # hvac and requests take a while to import, and a hub without a Vault never needs them.
        from penguin_hub.vault.client import VaultClient  # noqa: PLC0415 -- see above
        from penguin_hub.vault.hashicorp import HashicorpStore  # noqa: PLC0415 -- see above

        client = VaultClient(
            settings.vault_addr,
            token=settings.vault_token,
            role_id=settings.vault_role_id,
            secret_id=settings.vault_secret_id,
            namespace=settings.vault_namespace,
            cacert=settings.vault_cacert,
        )
        vault = HashicorpStore(client, mount=settings.vault_mount)
        await vault.open()
        return vault

    from penguin_hub.vault.embedded import EmbeddedStore  # noqa: PLC0415 -- the other half of the choice

    embedded = EmbeddedStore(database, settings.key_file or settings.data / "keys" / "kek.json")
    await embedded.open()
    return embedded
