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
    code = "secret_too_large"


class SecretNotFound(NotFound):
    code = "secret_not_found"


class CasConflict(Conflict):
    code = "secret_conflict"


class VaultUnavailable(Unavailable):
    code = "secret_store_unavailable"


class SecretDamaged(HubError):
    code = "secret_damaged"


class VaultForbidden(HubError):
    code = "secret_store_forbidden"


class KeyFileRefused(SettingsError):
    """The text names the file and says what to do."""
