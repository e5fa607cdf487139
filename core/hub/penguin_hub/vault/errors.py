"""What a secret store may raise.

HubError
├── Invalid          SecretTooLarge     more than a store takes in one secret
├── NotFound         SecretNotFound     no such path or version, deleted, destroyed or foreign: they look alike
├── Conflict         CasConflict        somebody else wrote first; read again, then decide
├── Unavailable      VaultUnavailable   sealed, standby without an active node, time-out, unreachable: come back later
├── SecretDamaged    what is stored was altered, moved, rolled back or is not ours; nothing of it is handed out
└── VaultForbidden   our own credential is refused: an operator has to act

SettingsError
└── KeyFileRefused   the hub must not start: the key file is missing, wrong or readable by others

None of them is ever chained to what the client library raised: that holds answers and addresses.
"""

from penguin_hub.platform.errors import Conflict, HubError, Invalid, NotFound, SettingsError, Unavailable


class SecretTooLarge(Invalid):
    """More than a store takes in one secret."""

    code = "secret_too_large"


class SecretNotFound(NotFound):
    code = "secret_not_found"


class CasConflict(Conflict):
    """Somebody else wrote the secret first; read again, then decide."""

    code = "secret_conflict"


class VaultUnavailable(Unavailable):
    """The secret store is sealed or cannot be reached now."""

    code = "secret_store_unavailable"


class SecretDamaged(HubError):
    """What is stored was altered, moved or rolled back; nothing of it is handed out. An operator has to act."""

    code = "secret_damaged"


class VaultForbidden(HubError):
    """The secret store refuses the hub's own credential. An operator has to act."""

    code = "secret_store_forbidden"


class KeyFileRefused(SettingsError):
    """The text names the file and says what to do."""
