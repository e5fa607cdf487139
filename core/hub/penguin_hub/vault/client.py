"""The only importer of hvac: one Vault (or OpenBao) spoken to by a few threads.

Everything here blocks; `hashicorp.py` keeps it off the event loop. hvac by itself waits 30 seconds, retries nothing,
follows redirects (with the token) and obeys proxies and netrc of the environment; this module sets all of that.
"""

import random
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

import hvac  # type: ignore[import-untyped]  # hvac ships no types; its answers are parsed into structs
import hvac.adapters  # type: ignore[import-untyped]  # as above
import msgspec
import requests
import requests.adapters
import structlog

from penguin_hub.platform.errors import HubError
from penguin_hub.vault.breaker import Breaker
from penguin_hub.vault.errors import VaultForbidden, VaultUnavailable
from penguin_hub.vault.token import Grant, Token

log = structlog.get_logger(__name__)

CONNECT_SECONDS: Final = 1.0
TOTAL_SECONDS: Final = 3.0
"""For one call with its retries. A blocking audit device hangs a Vault; nobody shall hang with it."""
THREADS: Final = 8
ATTEMPTS: Final = 3

# What may pass by itself: 412 is a standby that has not seen our last write yet, 429 a quota (not the 429 of
# sys/health), 5xx a node that is being replaced.
_TRANSIENT: Final = frozenset({412, 429, 500, 502, 503, 504})

# sys/health; None is a node that serves (a standby forwards). HashiCorp documents all, OpenBao 200, 429, 501 and 503.
_HEALTH: Final[dict[int, str | None]] = {
    200: None,
    429: None,
    473: None,
    472: "is a disaster-recovery secondary: point VAULT_ADDR at the primary cluster",
    474: "is a standby and no node is active",
    501: "is not initialised",
    503: "is sealed: unseal it",
    530: "was removed from its cluster",
}

_deadline: ContextVar[float] = ContextVar("_deadline")


class Refused(Exception):
    """Vault answered with a status that is no success. Stays inside this package."""

    def __init__(self, status: int, errors: tuple[str, ...], attempt: int = 1) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.errors = errors
        self.attempt = attempt
        """Above 1, an earlier attempt of the same call may have taken effect."""

    def says(self, words: str) -> bool:
        return any(words in error for error in self.errors)


class VaultClient:
    """One address, one login. `call` may be used from several threads at once."""

    def __init__(
        self,
        address: str,
        *,
        token: str | None,
        role_id: str | None,
        secret_id: str | None,
        namespace: str | None = None,
        cacert: str | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        session = requests.Session()
        session.trust_env = False
        session.verify = cacert or True
        transport = _Transport(pool_connections=1, pool_maxsize=THREADS, max_retries=0)
        session.mount("https://", transport)
        session.mount("http://", transport)
        # An empty token keeps hvac from looking for one in the environment and in ~/.vault-token.
        self._hvac = hvac.Client(
            url=address,
            token=token or "",
            session=session,
            adapter=_Adapter,
            namespace=namespace,
            allow_redirects=False,
        )
        self._approle = (role_id, secret_id) if role_id and secret_id and not token else None
        self._token = Token()
        self._login_lock = threading.Lock()
        self._breaker = breaker or Breaker()

    def __repr__(self) -> str:
        return "VaultClient()"

    def call(self, operation: Callable[[Any], Any], *, retry: bool, deadline: float) -> Any:
        """What `operation` returns when it is given the hvac client.

        `retry=False` is for what must not happen twice. `deadline` is a moment of time.monotonic().
        Raises Refused (400, 404 and other answers to the request itself), VaultUnavailable, VaultForbidden.
        """
        _deadline.set(deadline)
        if time.monotonic() >= deadline:
            raise VaultUnavailable("The secret store is too busy.", retry_after=1)
        wait = self._breaker.wait()
        if wait:
            raise VaultUnavailable("The secret store is not answering.", retry_after=wait)
        for attempt in range(1, ATTEMPTS + 1):
            final = not retry or attempt == ATTEMPTS
            try:
                answer = self._authorized(operation)
            except requests.RequestException as error:
                reason = f"The secret store cannot be reached ({type(error).__name__})."
                answered = False
            except Refused as error:
                reason = _unavailable(error)
                if not reason:
                    self._breaker.succeeded()
                    error.attempt = attempt
                    raise
                answered = error.status not in _TRANSIENT or error.says("sealed")
            except HubError:
                self._breaker.succeeded()
                raise
            else:
                self._breaker.succeeded()
                return answer
            pause = random.uniform(0.05, 0.15) * 2 ** (attempt - 1)  # noqa: S311 -- jitter, not a secret
            if final or answered or time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
        self._breaker.failed()
        raise VaultUnavailable(reason, retry_after=1) from None

    def check(self, deadline: float) -> None:
        """Whether this node serves and our token is good. Asks also while the breaker is open, and may close it."""
        _deadline.set(deadline)
        try:
            answer = self._hvac.sys.read_health_status(method="GET")
        except requests.RequestException as error:
            self._breaker.failed()
            raise VaultUnavailable(
                f"The secret store cannot be reached ({type(error).__name__}): check VAULT_ADDR.", retry_after=1
            ) from None
        status = 200 if isinstance(answer, dict) else answer.status_code
        problem = _HEALTH.get(status, f"answers its health check with {status}")
        if problem:
            self._breaker.failed()
            raise VaultUnavailable(f"The secret store {problem}.", retry_after=1)
        self._breaker.succeeded()
        try:
            self.call(lambda client: client.auth.token.lookup_self(), retry=True, deadline=deadline)
        except Refused as error:
            raise VaultForbidden(f"The secret store refuses our token ({error.status}).") from None

    def seconds_to_renewal(self) -> float | None:
        """None for a token that never expires."""
        return self._token.seconds_to_renewal()

    def keep_token(self, deadline: float) -> None:
        """Log in, learn about, renew or replace the token: whichever is due. Raises as `call` does."""
        _deadline.set(deadline)
        used = self._hvac.adapter.token
        try:
            if self._approle and not (used and self._token.grant.renewable):
                self._login(used)
            elif not self._token.known or not self._token.grant.renewable:
                self._token.granted(Grant.looked_up(self._hvac.auth.token.lookup_self()))
            else:
                grant = Grant.given(self._hvac.auth.token.renew_self())
                if self._approle and self._token.ends_soon(grant):
                    self._login(used)  # The maximum life is near: renewing gives less and less.
                else:
                    self._token.granted(grant, renewed=True)
        except requests.RequestException as error:
            raise VaultUnavailable(f"The secret store cannot be reached ({type(error).__name__}).") from None
        except Refused as error:
            if error.status not in (401, 403):
                raise VaultUnavailable(_unavailable(error) or f"The token is not renewed ({error.status}).") from None
            self._login(used)

    def close(self) -> None:
        self._hvac.adapter.close()

    def _authorized(self, operation: Callable[[Any], Any]) -> Any:
        if self._approle and not self._hvac.adapter.token:
            self._login("")
        used = self._hvac.adapter.token
        try:
            return operation(self._hvac)
        except Refused as error:
            if error.status not in (401, 403):
                raise
        # Vault gives one answer for a dead token and for a policy that says no.
        if self._alive(used):
            raise VaultForbidden("The secret store's policy does not allow the hub this.")
        self._login(used)
        return operation(self._hvac)

    def _alive(self, used: str) -> bool:
        if used != self._hvac.adapter.token:
            return False  # Another thread has replaced it in the meantime.
        try:
            self._hvac.auth.token.lookup_self()
        except Refused as error:
            if error.status in (401, 403):
                return False
            raise
        return True

    def _login(self, used: str) -> None:
        """Log in by AppRole, unless another thread has done so since `used` was taken."""
        if self._approle is None:
            raise VaultForbidden("VAULT_TOKEN has expired or was revoked: set a new one and restart the hub.")
        with self._login_lock:
            if self._hvac.adapter.token not in (used, ""):
                return
            wait = self._token.login_wait()
            if wait:
                raise VaultForbidden(
                    f"The secret store refused VAULT_ROLE_ID and VAULT_SECRET_ID; the next try is in {wait:.0f} s.",
                    retry_after=wait,
                )
            # The login must not carry a dead token: it would be refused for that.
            self._hvac.adapter.token = ""
            try:
                answer = self._hvac.auth.approle.login(*self._approle, use_token=False)
            except Refused as error:
                if error.status not in (400, 401, 403):
                    raise
                self._token.login_refused()
                log.error("vault_login_refused", status=error.status)
                raise VaultForbidden("The secret store refused VAULT_ROLE_ID and VAULT_SECRET_ID.") from None
            grant = Grant.given(answer)
            self._hvac.adapter.token = grant.token
            self._token.granted(grant)


def _unavailable(error: Refused) -> str:
    """Why Vault cannot serve now, or nothing if the answer is about the request."""
    if error.says("sealed"):
        return "The secret store is sealed."
    if 300 <= error.status < 400:
        return "The secret store answers with a redirect: point VAULT_ADDR at its active node or load balancer."
    if error.status in _TRANSIENT or error.status >= 472:
        return f"The secret store cannot serve now ({error.status})."
    return ""


class _Errors(msgspec.Struct):
    errors: tuple[str, ...] = ()


class _Adapter(hvac.adapters.JSONAdapter):  # type: ignore[misc]  # hvac ships no types
    """hvac's way to the wire; statuses as they are, because hvac knows only some (412 and 473 look alike to it)."""

    def request(self, *args: Any, raise_exception: bool = True, **kwargs: Any) -> Any:
        answer = super().request(*args, raise_exception=False, **kwargs)
        if isinstance(answer, requests.Response) and answer.status_code >= 300 and raise_exception:
            try:
                errors = msgspec.json.decode(answer.content, type=_Errors).errors
            except msgspec.DecodeError:
                errors = ()
            raise Refused(answer.status_code, errors)
        return answer


class _Transport(requests.adapters.HTTPAdapter):
    """Gives every request what is left of its call's time."""

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float | None, float | None] | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: dict[str, str] | None = None,
    ) -> requests.Response:
        left = _deadline.get() - time.monotonic()
        if left <= 0:
            raise requests.exceptions.ConnectTimeout("no time left")
        timeout = (min(CONNECT_SECONDS, left), left)
        return super().send(request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies)
