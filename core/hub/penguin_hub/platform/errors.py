"""What may go wrong with a request, in the words of the domain. `http/problems` alone knows the status codes.

HubError
├── Invalid             the request is understood and not acceptable; `errors` points at the fields
├── Unauthenticated     no credential, or one that is not (or no longer) good
├── Forbidden           a good credential that may not do this
├── NotFound            no such thing, or it belongs to somebody else: the two look alike
├── Conflict            the state of things does not allow it now
├── Gone                it was there and is no more
├── PreconditionFailed  somebody else changed it first (If-Match)
├── TooMany             a limit or quota is used up; `retry_after` says when to come back
└── Unavailable         our own fault or a helper's outage; `retry_after` says when to come back

A feature's `errors.py` subclasses these, giving each error its own stable `code`.
"""

from typing import Any, ClassVar

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One thing that is wrong with the request: where (a JSON Pointer `#/email`, or `?limit`), which and why."""

    pointer: str
    code: str
    detail: str


class HubError(Exception):
    """Base of all errors that a caller may see. `detail` is written for that caller: no secret, no internals."""

    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        self.extra = extra
        """Further members of the problem document, such as `needed_scope`."""


class Invalid(HubError):
    code = "validation_failed"

    @classmethod
    def field(cls, pointer: str, code: str, detail: str) -> "Invalid":
        """The usual case: one field is wrong."""
        return cls(detail, errors=(FieldError(pointer, code, detail),))


class Unauthenticated(HubError):
    code = "unauthenticated"


class Forbidden(HubError):
    code = "forbidden"


class NotFound(HubError):
    code = "not_found"


class Conflict(HubError):
    code = "conflict"


class Gone(HubError):
    code = "gone"


class PreconditionFailed(HubError):
    code = "precondition_failed"


class TooMany(HubError):
    code = "rate_limited"


class Unavailable(HubError):
    code = "temporarily_unavailable"


class SettingsError(Exception):
    """A setting is missing or wrong. The text names the variable and says what to do; it never holds a secret."""
