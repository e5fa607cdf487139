"""OAuth 2.0 client credentials (RFC 6749, 4.4): the token that an endpoint wants with each delivery.

One cache for each version of an endpoint's configuration. A token is renewed before it ends, by one request whoever
waits for it, and once more when the endpoint answers 401. The token's URL stands behind the same wall as endpoints do.
"""

import asyncio
import base64
import re
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote_plus, urlencode

import msgspec
import structlog
from penguin_hub_sdk.addresses import AddressRefused

from penguin_hub.delivery.authentication import OAuth2
from penguin_hub.delivery.client import Answer, Client, Target, Timings

log = structlog.get_logger(__name__)

FETCH_SECONDS: Final = 10.0
"""The deadline of one request for a token."""
USUAL_SECONDS: Final = 300.0
"""How long a token is taken to be good when the answer does not say."""
_LONGEST_SECONDS: Final = 24 * 3600.0
_EARLY_SECONDS: Final = 60.0
"""So long before its end a token is renewed, but in the last fifth of its time at most."""
PAUSE_SECONDS: Final = 5.0
"""After a request for a token failed, and between two renewals because of a 401."""

_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}")
# RFC 6749 5.2 and RFC 8707: words that may be repeated to the tenant. Whatever else came back is not ours to show.
_ERRORS: Final = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope", "invalid_target",
    }
)  # fmt: skip


class _Granted(msgspec.Struct, frozen=True):
    access_token: str
    token_type: str = "bearer"  # noqa: S105 -- a word of the protocol
    expires_in: float | str | None = None


class _Refused(msgspec.Struct, frozen=True):
    error: str = ""


class NoToken(Exception):
    """There is none now. The text is for the tenant."""


class Tokens:
    """One for each version of an endpoint. Nothing of it is stored."""

    def __init__(self, client: Client, auth: OAuth2, *, now: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._now = now
        try:
            self._target: Target | None = client.target(auth.token_url)
        except AddressRefused:
            self._target = None
        self._headers, self._body = _request(auth)
        self._token: str | None = None
        self._ends_at = self._renew_at = self._wait_until = self._renewed_at = float("-inf")
        self._reason = ""
        self._fetching: asyncio.Task[None] | None = None

    async def get(self) -> str:
        """A token that is good now. Raises NoToken."""
        if self._now() >= max(self._renew_at, self._wait_until):
            await self._renew()
        if self._token is None or self._now() >= self._ends_at:
            raise NoToken(f"The authorization server gave no token{self._reason}.")
        return self._token

    async def instead_of(self, refused: str) -> str | None:
        """Another token than one that the endpoint refused; None when there is none to be had now."""
        if self._token == refused:
            if self._now() < self._renewed_at + PAUSE_SECONDS:
                return None
            self._renewed_at = self._now()
            self._forget()
        try:
            token = await self.get()
        except NoToken:
            return None
        return None if token == refused else token

    async def _renew(self) -> None:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        # One that stops waiting does not take the token from the others.
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        """Never raises but CancelledError. A token that is still good outlives a failure."""
        asked_at = self._now()
        if self._target is None:
            answer = Answer(None, "unreachable", Timings(total=0.0))
        else:
            answer = await self._client.post(self._target, self._headers, self._body, deadline=FETCH_SECONDS)
        granted = _granted(answer)
        if granted is None:
            self._reason = _reason(answer)
            self._wait_until = self._now() + PAUSE_SECONDS
            log.info("no_token", status=answer.status, failure=answer.failure)
            return
        self._token, seconds = granted
        self._ends_at = asked_at + seconds
        self._renew_at = asked_at + seconds - min(_EARLY_SECONDS, seconds / 5)
        self._wait_until = float("-inf")

    def _forget(self) -> None:
        self._token = None
        self._ends_at = self._renew_at = float("-inf")

    def __repr__(self) -> str:
        return "Tokens(...)"


async def post(client: Client, target: Target, tokens: Tokens, headers: Mapping[str, str], body: bytes) -> Answer:
    """A delivery with a token, all within the one deadline of a delivery. Never raises but CancelledError."""
    started = time.perf_counter()

    def left() -> float:
        return max(0.0, client.deadline - (time.perf_counter() - started))

    def ended(answer: Answer) -> Answer:
        total = round((time.perf_counter() - started) * 1000, 2)
        return msgspec.structs.replace(answer, timings=msgspec.structs.replace(answer.timings, total=total))

    async def send(token: str) -> Answer:
        return await client.post(target, {**headers, "authorization": f"Bearer {token}"}, body, deadline=left())

    try:
        async with asyncio.timeout(left()):
            token = await tokens.get()
    except TimeoutError:
        return ended(Answer(None, "token", Timings(total=0.0)))
    except NoToken as error:
        return ended(Answer(None, "token", Timings(total=0.0), note=str(error)))
    answer = await send(token)
    if answer.status == 401:
        try:
            async with asyncio.timeout(left()):
                other = await tokens.instead_of(token)
        except TimeoutError:
            other = None
        if other is not None and left() > 0:
            answer = await send(other)
    return ended(answer)


def _request(auth: OAuth2) -> tuple[dict[str, str], bytes]:
    form = {"grant_type": "client_credentials"}
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    if auth.client_auth == "basic":
        # RFC 6749 2.3.1: both are form-encoded before they become a user and a password.
        pair = f"{quote_plus(auth.client_id)}:{quote_plus(auth.client_secret)}"
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    else:
        form |= {"client_id": auth.client_id, "client_secret": auth.client_secret}
    form |= {name: value for name, value in (("scope", auth.scope), ("audience", auth.audience)) if value}
    return headers, urlencode(form).encode()


def _granted(answer: Answer) -> tuple[str, float] | None:
    """The token and for how many seconds it is good."""
    if answer.failure is not None or answer.truncated:
        return None
    try:
        found = msgspec.json.decode(answer.body, type=_Granted)
        seconds = USUAL_SECONDS if found.expires_in is None else float(found.expires_in)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None
    if found.token_type.lower() != "bearer" or not _TOKEN.fullmatch(found.access_token) or not seconds > 0:
        return None
    return found.access_token, min(seconds, _LONGEST_SECONDS)


def _reason(answer: Answer) -> str:
    try:
        word = msgspec.json.decode(answer.body, type=_Refused).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return f" ({word})" if word in _ERRORS else ""
