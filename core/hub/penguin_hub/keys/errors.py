"""What may go wrong with API keys.

HubError
├── Unauthenticated  InvalidKey        not one of ours, or not any more: revoked, expired, unknown look alike
├── Forbidden        AddressRefused    a good key from an address outside its allow-list
│                    TenantSuspended   a good key of a tenant that is suspended
│                    NotYours          asks for more power than the caller has
├── NotFound         KeyNotFound
├── Conflict         KeyNotActive, TooManyKeys
├── PreconditionFailed KeyChanged
└── Unavailable      TooBusy           more bcrypt checks wait than this process takes on
"""

from penguin_hub.platform.errors import Conflict, Forbidden, NotFound, PreconditionFailed, Unauthenticated, Unavailable


class InvalidKey(Unauthenticated):
    """Not one of ours, or not any more: unknown, revoked and expired look alike."""

    code = "invalid_api_key"


class AddressRefused(Forbidden):
    """A good key, from an address outside its `allowed_ips`."""

    code = "address_not_allowed"


class TenantSuspended(Forbidden):
    """A good key of a tenant that is suspended."""

    code = "tenant_suspended"


class NotYours(Forbidden):
    """It asks for more power than the caller has."""

    code = "cannot_grant"


class KeyNotFound(NotFound):
    code = "api_key_not_found"


class KeyNotActive(Conflict):
    """The key is revoked or has expired; make a new one."""

    code = "api_key_not_active"


class TooManyKeys(Conflict):
    """The tenant has as many active keys as it may have."""

    code = "too_many_api_keys"


class KeyChanged(PreconditionFailed):
    code = "api_key_changed"


class TooBusy(Unavailable):
    """More keys wait for their first check than this process takes on. It says nothing about the key."""

    code = "authentication_busy"
