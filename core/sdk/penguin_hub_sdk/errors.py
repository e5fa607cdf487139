"""Everything a connector may raise. What the hub does about it follows from the type alone.

PluginError
├── AuthExpired      authentication   the credential is refused: the connection stops until the tenant reconnects
├── NotAllowed       authorization    the credential is good but may not do this: the tenant must widen it
├── ConfigInvalid    configuration    a setting is wrong; `field` names it
├── QuotaExceeded    quota            the account's allowance is used up: retried, much later
├── RateLimited      rate limit       too fast: retried after `retry_after` seconds
├── NetworkFailed    network          no connection, no answer, TLS refused: retried
├── ProviderFailed   api              the provider's own fault (5xx): retried
├── Rejected         api              the provider refuses this request (4xx): never retried as it is
├── BadAnswer        data             the provider's answer cannot be understood: retried, and we are told
└── SignatureInvalid                  an inbound request is not from the provider, too old, or seen before

A connector raises the type and says in `detail` what the tenant must do; the text is shown to the tenant, so it holds
no secret. `code` is the provider's own code, kept for support. The hub adds the incident id.
"""

from typing import ClassVar, Literal

import msgspec

ConnectionStatus = Literal["active", "error", "maintenance"]


class Effect(msgspec.Struct, frozen=True):
    """What follows from an error's type (shown as a table in the documentation, used by the hub as it is)."""

    kind: str
    """The word in metrics, logs and the API: `authentication`, `rate_limit`, ..."""
    retryable: bool
    """Whether the same call may succeed later without anybody changing anything."""
    connection: ConnectionStatus
    """What the connection becomes until its next success."""
    notify: bool
    """Whether the tenant is told at once: only he can mend it."""
    breaker: bool
    """Whether it counts towards the circuit breaker: the provider as a whole seems to be in trouble."""


class PluginError(Exception):
    """Base of the tree; plugins raise one of the subclasses."""

    effect: ClassVar[Effect] = Effect("plugin", retryable=False, connection="active", notify=False, breaker=False)

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        """The provider's own code, such as Postmark's `406` or SMTP's `5.1.1`."""
        self.status = status
        """The HTTP status that brought it, where there was one."""
        self.retry_after = retry_after
        """Seconds, as the provider asked."""
        self.field = field
        """The configuration key at fault."""


class AuthExpired(PluginError):
    effect = Effect("authentication", retryable=False, connection="error", notify=True, breaker=False)


class NotAllowed(PluginError):
    effect = Effect("authorization", retryable=False, connection="error", notify=True, breaker=False)


class ConfigInvalid(PluginError):
    effect = Effect("configuration", retryable=False, connection="error", notify=True, breaker=False)


class QuotaExceeded(PluginError):
    effect = Effect("quota", retryable=True, connection="active", notify=True, breaker=False)


class RateLimited(PluginError):
    effect = Effect("rate_limit", retryable=True, connection="active", notify=False, breaker=False)


class NetworkFailed(PluginError):
    effect = Effect("network", retryable=True, connection="active", notify=False, breaker=True)


class ProviderFailed(PluginError):
    effect = Effect("api", retryable=True, connection="active", notify=False, breaker=True)


class Rejected(PluginError):
    effect = Effect("api", retryable=False, connection="active", notify=False, breaker=False)


class BadAnswer(PluginError):
    effect = Effect("data", retryable=True, connection="active", notify=False, breaker=True)


class SignatureInvalid(PluginError):
    effect = Effect("signature", retryable=False, connection="active", notify=False, breaker=False)
