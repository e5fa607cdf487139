"""The life of a Vault token: when to renew it, and how long not to log in again after a refusal."""

import random
import threading
import time
from typing import Any, Final, TypeVar

import msgspec

from penguin_hub.vault.errors import VaultUnavailable

RENEW_AT: Final = 2 / 3
"""Of the time to live, less some jitter so that a fleet does not renew at once."""
LOCKOUT_SECONDS: Final = 15 * 60
"""OpenBao locks a role for 15 minutes after 5 bad logins; a wrong secret must not do that to the whole fleet."""
FIRST_PAUSE_SECONDS: Final = 15

Parsed = TypeVar("Parsed", bound=msgspec.Struct)


class Grant(msgspec.Struct, frozen=True):
    """What Vault says about our token. `ttl` in seconds; 0 never expires."""

    token: str = ""
    ttl: float = 0
    renewable: bool = False

    def __repr__(self) -> str:
        return f"Grant(ttl={self.ttl}, renewable={self.renewable})"

    @classmethod
    def given(cls, answer: Any) -> "Grant":
        """From a login or a renewal. Batch tokens are not renewable."""
        auth = _parsed(answer, _Login).auth
        return cls(auth.client_token, auth.lease_duration, auth.renewable)

    @classmethod
    def looked_up(cls, answer: Any) -> "Grant":
        data = _parsed(answer, _LookUp).data
        return cls("", data.ttl, data.renewable)


class Token:
    """One token's clock. Used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.grant = Grant()
        self.known = False
        self._full_ttl = 0.0
        self._renew_at = 0.0
        self._refusals = 0
        self._login_at = 0.0

    def granted(self, grant: Grant, *, renewed: bool = False) -> None:
        with self._lock:
            self._full_ttl = max(self._full_ttl, grant.ttl) if renewed else grant.ttl
            self.grant = grant
            self.known = True
            self._refusals = 0
            self._renew_at = time.monotonic() + grant.ttl * RENEW_AT * random.uniform(0.9, 1.0)  # noqa: S311 -- jitter

    def ends_soon(self, renewed: Grant) -> bool:
        """Whether a renewal gave clearly less than the token once had: its maximum life is near."""
        return 0 < renewed.ttl < self._full_ttl / 2

    def seconds_to_renewal(self) -> float | None:
        """None for a token that never expires; 0 when nothing is known of it yet."""
        with self._lock:
            if not self.known:
                return 0.0
            if self.grant.ttl <= 0:
                return None
            return max(0.0, self._renew_at - time.monotonic())

    def login_refused(self) -> None:
        with self._lock:
            pause = min(LOCKOUT_SECONDS, FIRST_PAUSE_SECONDS * 2**self._refusals)
            self._refusals = min(self._refusals + 1, 10)
            self._login_at = time.monotonic() + pause * random.uniform(1.0, 1.2)  # noqa: S311 -- jitter

    def login_wait(self) -> float:
        """Seconds until a login may be tried; 0 is now."""
        with self._lock:
            return max(0.0, self._login_at - time.monotonic()) if self._refusals else 0.0


class _Auth(msgspec.Struct):
    client_token: str
    lease_duration: float
    renewable: bool


class _Login(msgspec.Struct):
    auth: _Auth


class _Data(msgspec.Struct):
    ttl: float
    renewable: bool = False


class _LookUp(msgspec.Struct):
    data: _Data


def _parsed(answer: Any, kind: type[Parsed]) -> Parsed:
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError:
        raise VaultUnavailable("What answers at VAULT_ADDR is not a Vault.", retry_after=5) from None
