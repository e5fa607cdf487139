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
    code = "invalid_api_key"


class AddressRefused(Forbidden):
    code = "address_not_allowed"


class TenantSuspended(Forbidden):
    code = "tenant_suspended"


class NotYours(Forbidden):
    code = "cannot_grant"


class KeyNotFound(NotFound):
    code = "api_key_not_found"


class KeyNotActive(Conflict):
    code = "api_key_not_active"


class TooManyKeys(Conflict):
    code = "too_many_api_keys"


class KeyChanged(PreconditionFailed):
    code = "api_key_changed"


class TooBusy(Unavailable):
    code = "authentication_busy"
