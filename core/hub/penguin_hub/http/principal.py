"""Who is asking: the principal, and the middleware that finds it out before anything else happens."""

import ipaddress
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, Literal, Protocol

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from litestar.types.asgi_types import HTTPResponseBodyEvent, HTTPResponseStartEvent

from penguin_hub.http.problems import problem_response
from penguin_hub.limits.headers import ANONYMOUS, Headers
from penguin_hub.platform.errors import Forbidden, HubError, Unauthenticated

log = structlog.get_logger(__name__)

Environment = Literal["live", "test"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller who has been authenticated. Tenant and scopes come from here and never from the request."""

    tenant: str
    workspace: str
    """The workspace that new things go to when the request names none."""
    actor: str
    """`key_...` or `usr_...`: who the audit log names."""
    scopes: frozenset[str]
    environment: Environment
    admin: bool
    """May manage keys and connections."""
    plan: str


CLIENT_IP: Final[ContextVar[str | None]] = ContextVar("client_ip", default=None)
"""The address the request came from, for the audit log."""

COOKIE: Final = "penguin_session"
CSRF_HEADER: Final = "x-penguin-csrf"
"""Asked of requests that change something and are authenticated by the cookie. Another site's form cannot send a header
of its own, and its script may not without a CORS permission that we never give; so any value will do."""

PREFIX: Final = "/api/v1/"
OPEN: Final = frozenset({("POST", "/api/v1/platform/sessions")})
"""What can be asked without a credential: to get one."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST = 64
_CHALLENGE = "Authenticate with `Authorization: Bearer <API key>`."


class CsrfRefused(Forbidden):
    """A cookie alone does not show that the user's own page is asking."""

    code = "csrf_header_missing"


class Admission(msgspec.Struct, frozen=True):
    """What the gate says of one request. `refusal` is for a caller who is known: his answer has his limit's headers."""

    principal: Principal
    headers: Headers
    refusal: HubError | None = None


class Gate(Protocol):
    """Knows credentials (`keys.gate`)."""

    async def admit(self, credential: str, client: Address | None) -> Admission:
        """Raises HubError where nobody is known to be asking."""
        ...

    def count(self, principal: Principal, status: int) -> None:
        """One answer, for the usage of the key."""
        ...


class Authentication:
    """Raw ASGI middleware: everything under /api/v1 is asked for a credential, also what does not exist.

    Sets `scope["user"]`, takes the rate limit's token, adds its headers to every answer and counts the answer. Only
    `trusted` peers are believed about the address they speak for (X-Forwarded-For).
    """

    def __init__(self, app: ASGIApp, gate: Gate, *, trusted: Sequence[Network] = ()) -> None:
        self._app = app
        self._gate = gate
        self._trusted = tuple(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        client = client_address(scope, self._trusted)
        CLIENT_IP.set(str(client) if client else None)
        admission = None
        try:
            if (scope["method"], scope["path"]) not in OPEN:
                admission = await self._gate.admit(bearer_or_cookie(scope), client)
                if admission.refusal is not None:
                    raise admission.refusal
        except Exception as error:
            await self._refuse(scope, send, admission, error)
            return
        headers = ANONYMOUS
        if admission is not None:
            headers = admission.headers
            scope["user"] = admission.principal
            structlog.contextvars.bind_contextvars(tenant=admission.principal.tenant)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
                if admission is not None:
                    self._gate.count(admission.principal, message["status"])
            await send(message)

        await self._app(scope, receive, answer)

    async def _refuse(self, scope: HTTPScope, send: Send, admission: Admission | None, error: Exception) -> None:
        if not isinstance(error, HubError):
            log.error("authentication_crashed", exc_info=error)
            error = HubError("This is our fault; it has been logged under the request id.")
        status, headers, body = problem_response(error, scope.get("request_id"))  # type: ignore[arg-type] # set by our own middleware
        if admission is not None:
            self._gate.count(admission.principal, status)
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        length = (b"content-length", b"%d" % len(body))
        limits = ANONYMOUS if admission is None else admission.headers
        start: HTTPResponseStartEvent = {
            "type": "http.response.start",
            "status": status,
            "headers": [*encoded, length, *limits],
        }
        await send(start)
        whole = body if scope["method"] != "HEAD" else b""
        end: HTTPResponseBodyEvent = {"type": "http.response.body", "body": whole, "more_body": False}
        await send(end)


def bearer_or_cookie(scope: Any) -> str:
    """The bearer token, or the session's cookie. Raises Unauthenticated, CsrfRefused.

    RFC 9110 lets a scheme be written in any case; we take `Bearer` alone, so that every proxy and log filter that looks
    for credentials sees ours.
    """
    given: bytes | None = None
    cookies: bytes | None = None
    csrf = False
    for name, value in scope["headers"]:
        if name == b"authorization":
            if given is not None:
                raise Unauthenticated("There are two Authorization headers.")
            given = value
        elif name == b"cookie":
            cookies = value if cookies is None else cookies + b"; " + value
        elif name == b"x-penguin-csrf":
            csrf = True
    if given is not None:
        token = given[7:]
        if given[:7] != b"Bearer " or not 0 < len(token) <= _LONGEST or not token.isascii():
            raise Unauthenticated(_CHALLENGE)
        return token.decode("ascii")
    token_text = session_cookie(cookies) if cookies else None
    if token_text is None:
        raise Unauthenticated(_CHALLENGE)
    if scope["method"] not in _SAFE and not csrf:
        raise CsrfRefused(f"A change made with the session cookie needs the header `{CSRF_HEADER}`.")
    return token_text


def session_cookie(header: bytes) -> str | None:
    """The session token in a Cookie header."""
    try:
        morsel = SimpleCookie(header.decode("latin-1")).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel is not None and 0 < len(morsel.value) <= _LONGEST else None


def client_address(scope: Any, trusted: Sequence[Network]) -> Address | None:
    """Where the request comes from: the peer, or what a trusted proxy says of it.

    X-Forwarded-For is read from its end, where our own proxies write, up to the first address that is none of ours:
    what stands before it was written by who knows whom.
    """
    peer = scope.get("client")
    address = parse_address(peer[0]) if peer else None
    if not trusted or address is None or not _within(address, trusted):
        return address
    hops = [hop for name, value in scope["headers"] if name == b"x-forwarded-for" for hop in value.split(b",")]
    for hop in reversed(hops):
        named = parse_address(hop.decode("latin-1").strip())
        if named is None:
            return address
        address = named
        if not _within(address, trusted):
            break
    return address


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """An address without port and zone; IPv4 inside IPv6 (::ffff:192.0.2.1) as the IPv4 it is."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
