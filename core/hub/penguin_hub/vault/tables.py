"""The tables of the embedded store.

`tenant_id` is a tenant, or `system` for the hub's own secrets, which the relay role alone sees.
"""

from piccolo.columns import BigInt, Boolean, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table


class SecretKey(Table, tablename="secret_keys"):
    """A tenant's data key, wrapped by the key-encryption key `kek_id`. One of a tenant's keys is active."""

    tenant_id = Text()
    id = Text(primary_key=True)
    kek_id = Text()
    nonce = Bytea()
    wrapped = Bytea()
    active = Boolean()
    messages = BigInt()
    """How often it has encrypted."""
    created_at = Timestamptz()


class SecretPath(Table, tablename="secret_paths"):
    """The head of one secret: which version is the latest, vouched for by an empty sealed message."""

    tenant_id = Text()
    path = Text(primary_key=True)
    current_version = Integer()
    key_id = Text()
    nonce = Bytea()
    seal = Bytea()


class StoredSecret(Table, tablename="secrets"):
    """One version of one secret. A destroyed one has neither key nor nonce nor ciphertext."""

    tenant_id = Text()
    path = Text(primary_key=True)
    version = Integer()
    key_id = Text(null=True)
    nonce = Bytea(null=True)
    ciphertext = Bytea(null=True)
    created_at = Timestamptz()
    deleted_at = Timestamptz(null=True)
