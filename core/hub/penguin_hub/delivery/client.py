"""HTTP to tenants' endpoints. The only importer of aiohttp.

One total deadline covers name look-up, connection, TLS, headers and body. Addresses are resolved and judged here, and
the connection goes to the judged address. No redirect is followed, no proxy of the environment used, no cookie kept;
of an answer no more than MAX_BODY bytes are read, and no more than MAX_BODY come out of its compression.
"""

import asyncio
import re
import socket
import ssl
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from ipaddress import ip_address
from itertools import islice
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from penguin_hub_sdk import addresses
from yarl import URL

from penguin_hub.delivery import identity
from penguin_hub.delivery.retry import Failure

DEADLINE_SECONDS: Final = 30.0
MAX_BODY: Final = 16 * 1024
"""Bytes of an answer that are read and kept."""
# Receivers close idle connections after 5 seconds or more (Node.js: 5); a request that meets a closing one is lost.
_KEEP_ALIVE_SECONDS: Final = 4.0
_DNS_SECONDS: Final = 10
_VET_SECONDS: Final = 2.0
_RESOLVERS: Final = 16
_MAX_HEADERS: Final = 64
_MAX_HEADER_VALUE: Final = 1024

# What is said of each failure: the same words whatever the inside of it was.
SENTENCES: Final[dict[Failure, str]] = {
    "timeout": "The endpoint did not answer in time.",
    "unreachable": "The endpoint cannot be reached.",
    "tls": "The endpoint's certificate or TLS version is not acceptable.",
    "protocol": "What came back is not an HTTP answer.",
    "status": "The endpoint answered with an error.",
    "redirect": "The endpoint answered with a redirect, which is not followed.",
    "token": "The authorization server gave no token.",
}


class Timings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Milliseconds. Look-up and connection are absent where a kept connection was used."""

    total: float
    dns: float | None = None
    connect: float | None = None
    """TCP and, for https, TLS."""
    first_byte: float | None = None


class Answer(msgspec.Struct, frozen=True):
    """What came of one POST."""

    status: int | None
    failure: Failure | None
    timings: Timings
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    truncated: bool = False
    note: str | None = None
    """More exact than the failure's own sentence."""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


class Target(msgspec.Struct, frozen=True):
    """An endpoint's URL, parsed and judged by its text."""

    url: URL
    host: str
    literal: bool
    """The host is an address, which no resolver will see."""
    tls: ssl.SSLContext | None = None
    """With a client certificate. Connections are shared only with what has the same context."""


class Client:
    """One for the process. `allow` are the private ranges that the operator has opened."""

    def __init__(
        self,
        *,
        allow: Sequence[addresses.Network] = (),
        deadline: float = DEADLINE_SECONDS,
        trust: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._allow = tuple(allow)
        self.deadline = deadline
        self._trust = trust or ssl.create_default_context()
        self._authorities = b"".join(trust.get_ca_certs(binary_form=True)) if trust else None
        self._resolver = resolver or VettedResolver(self._allow)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._resolver.close()

    def target(self, url: str) -> Target:
        """Raises addresses.AddressRefused."""
        place = addresses.parse_url(url, ("https", "http"))
        try:
            literal = ip_address(place.host)
        except ValueError:
            return Target(URL(url, encoded=True), place.host, False)
        if not addresses.vet(literal, self._allow):
            raise addresses.AddressRefused("not a public address")
        return Target(URL(url, encoded=True), place.host, True)

    async def vet(self, url: str) -> None:
        """Whether a URL may be an endpoint: its text, and what its name leads to now. A name that nobody knows yet is
        not refused; it is judged again before each connection. Raises addresses.AddressRefused."""
        target = self.target(url)
        if not target.literal:
            try:
                async with asyncio.timeout(_VET_SECONDS):
                    await addresses.resolve(target.host, target.url.port or 443, self._allow)
            except (addresses.NameUnknown, TimeoutError):
                return

    async def presenting(self, target: Target, certificate: str, private_key: str) -> Target:
        """The target with a client certificate. Raises identity.IdentityInvalid."""

        def made() -> ssl.SSLContext:
            return identity.present(ssl.create_default_context(cadata=self._authorities), certificate, private_key)

        return msgspec.structs.replace(target, tls=await asyncio.to_thread(made))

    async def post(
        self, target: Target, headers: Mapping[str, str], body: bytes, *, deadline: float | None = None
    ) -> Answer:
        """Never raises but CancelledError: every failure is an Answer. `deadline` in seconds, else the client's."""
        session = self._session or self._open()
        trace = _Trace()
        _TRACE.set(trace)
        started = time.perf_counter()
        status: int | None = None
        got: tuple[tuple[str, str], ...] = ()
        first: float | None = None
        received, truncated = b"", False
        failure: Failure | None = None
        try:
            async with asyncio.timeout(self.deadline if deadline is None else deadline):
                response = await session.post(
                    target.url, data=body, headers=headers, allow_redirects=False, ssl=target.tls or True
                )
                try:
                    first = time.perf_counter()
                    status = response.status
                    got = _cut_headers(response.headers)
                    received, truncated = await _read(response)
                finally:
                    # A body that was not read to its end ends the connection as well.
                    response.close() if truncated or not response.content.at_eof() else response.release()
        except TimeoutError:
            truncated = True
            failure = "timeout" if status is None else None
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            # A status that came before the connection broke stands.
            truncated = True
            failure = _failure(error) if status is None else None
        ended = time.perf_counter()
        timings = Timings(
            total=_ms(started, ended),
            dns=trace.dns,
            connect=trace.connect,
            first_byte=_ms(started, first) if first else None,
        )
        if status is not None and not 200 <= status < 300:
            failure = "redirect" if 300 <= status < 400 else "status"
        return Answer(status, failure, timings, got, received, truncated and status is not None)

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=_TimedConnector(
                resolver=self._resolver,
                ssl=self._trust,
                limit=0,
                ttl_dns_cache=_DNS_SECONDS,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            skip_auto_headers=("accept", "accept-encoding", "user-agent", "content-type"),
            read_bufsize=MAX_BODY,
        )
        return self._session


class _Trace:
    """The times of one request's new connection, if it needed one."""

    __slots__ = ("connect", "dns")

    def __init__(self) -> None:
        self.dns: float | None = None
        self.connect: float | None = None


# The request that a connection is made for. aiohttp's own tracing costs a third of a request's time.
_TRACE: ContextVar[_Trace] = ContextVar("delivery_trace")


class _TimedConnector(aiohttp.TCPConnector):
    """Says how long a new connection took."""

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- the signature is aiohttp's
    ) -> ResponseHandler:
        started = time.perf_counter()
        made = await super()._create_connection(req, traces, timeout)
        if (trace := _TRACE.get(None)) is not None:
            trace.connect = round(_ms(started, time.perf_counter()) - (trace.dns or 0.0), 2)
        return made


class VettedResolver(AbstractResolver):
    """Look-ups in threads of their own; the answer is judged before anybody connects."""

    def __init__(self, allow: Sequence[addresses.Network]) -> None:
        self._allow = tuple(allow)
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError, as aiohttp expects, for names that are unknown and for those that are refused."""
        look_up = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM)
        started = time.perf_counter()
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        if (trace := _TRACE.get(None)) is not None:
            trace.dns = _ms(started, time.perf_counter())
        seen = tuple(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))
        try:
            good = addresses.judge(host, seen, self._allow)
        except addresses.AddressRefused as error:
            raise OSError(str(error)) from error
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in good
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 2)


async def _read(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """At most MAX_BODY bytes of the body, decompressed, and whether there was more."""
    content = response.content
    if content.is_eof():
        # The usual case: a short answer came in one piece. At most a few MAX_BODY are buffered.
        raw = content.read_nowait(-1)
    else:
        buffer = bytearray()
        while len(buffer) <= MAX_BODY:
            chunk = await content.read(MAX_BODY + 1 - len(buffer))
            if not chunk:
                break
            buffer += chunk
        raw = bytes(buffer)
    truncated = len(raw) > MAX_BODY
    if raw and response.headers.get("content-encoding", "").strip().lower() in ("gzip", "x-gzip", "deflate"):
        return _inflate(raw[:MAX_BODY], truncated)
    return raw[:MAX_BODY], truncated


def _inflate(raw: bytes, truncated: bool) -> tuple[bytes, bool]:
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        out = decoder.decompress(raw, MAX_BODY)
    except zlib.error:
        return b"", True
    return out, truncated or bool(decoder.unconsumed_tail) or not decoder.eof


_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _cut_headers(headers: Any) -> tuple[tuple[str, str], ...]:
    """Names in lower case; values cut, and rid of what cannot be shown or stored."""
    return tuple(
        [
            (name.lower()[:128], (value if value.isprintable() else _UNPRINTABLE.sub("�", value))[:_MAX_HEADER_VALUE])
            for name, value in islice(headers.items(), _MAX_HEADERS)
        ]
    )


def _failure(error: Exception) -> Failure:
    kinds: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Failure], ...] = (
        ((aiohttp.ClientSSLError, ssl.SSLError), "tls"),
        ((aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError, OSError), "unreachable"),
    )
    return next((failure for kind, failure in kinds if isinstance(error, kind)), "protocol")
