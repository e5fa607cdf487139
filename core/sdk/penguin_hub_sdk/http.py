"""`ctx.http`: a connector's only way to HTTP, and the only importer of httpx and httpcore.

A call goes: declared host -> circuit breaker -> the provider's pace -> a connection to a vetted address -> the answer,
capped and decoded -> the table of errors -> perhaps once more. httpx builds the request (forms, multipart, URLs);
httpcore carries it over connections whose addresses we resolve, vet and pin ourselves. No redirect is followed, no
proxy or certificate setting is taken from the environment.
"""

import asyncio
import logging
import random
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpcore
import httpx
import msgspec

from penguin_hub_sdk._breaker import Breakers
from penguin_hub_sdk._limits import Bucket
from penguin_hub_sdk.addresses import AddressRefused, Network, parse_host, resolve, vet
from penguin_hub_sdk.config import Config, Secret, secret_values
from penguin_hub_sdk.errors import ConfigInvalid, NetworkFailed, PluginError, ProviderFailed, RateLimited
from penguin_hub_sdk.exchange import (
    Basic,
    Bearer,
    Explain,
    Incoming,
    NotSent,
    Part,
    Redactor,
    Request,
    Response,
    Wire,
    checked,
    header_value,
    read_body,
)
from penguin_hub_sdk.policy import ERRORS, HttpPolicy
from penguin_hub_sdk.retries import backoff, retry_after

__all__ = ["ERRORS", "Basic", "Bearer", "Breakers", "Http", "HttpPolicy", "Part", "Pinned", "Request", "Response"]

Params = Mapping[str, str | int | float | bool | None]
Form = Mapping[str, str] | Sequence[tuple[str, str]]

_log: Final = logging.getLogger(__name__)

USER_AGENT: Final = "PenguinMails-Integration-Hub/0.1"
_DEFAULTS: Final = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": USER_AGENT}
TRIES: Final = 3
PATIENCE: Final = 5.0
"""Seconds a POST waits inside the call when a provider asks for it; longer waits are the email worker's business."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class Http:
    """One connection's HTTP. Made by the hub, closed by the hub (`aclose`)."""

    def __init__(
        self,
        policy: HttpPolicy,
        config: Config | None = None,
        *,
        breakers: Breakers | None = None,
        wire: Wire | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: random.Random | None = None,
    ) -> None:
        """`config` is where the secrets to redact come from; `breakers` are the process's, shared by all connections.
        The last three are the test kit's."""
        self._policy = policy
        self._clean = Redactor(secret_values(config) if config is not None else ())
        self._breakers = breakers or Breakers()
        self._wire = wire or Pinned(policy)
        self._bucket = Bucket(policy.limits.rate, policy.limits.burst)
        self._slots = asyncio.Semaphore(policy.limits.concurrency)
        self._clock = clock
        self._sleep = sleep
        self._chance = chance or random.Random()  # noqa: S311 - jitter, not a secret

    def __repr__(self) -> str:
        return f"Http({self._policy.plugin!r})"

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def get(self, url: str, **options: Any) -> Response:
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Any) -> Response:
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Any) -> Response:
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Any) -> Response:
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Any) -> Response:
        return await self.request("DELETE", url, **options)

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        json: Any = msgspec.UNSET,
        form: Form | None = None,
        files: Sequence[Part] = (),
        content: bytes | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        auth: Basic | Bearer | None = None,
        retry: bool | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the author's word for the whole call's deadline
        explain: Explain | None = None,
    ) -> Response:
        """One call to the provider; returns on 2xx and raises the type of the table otherwise.

        `retry`: None repeats what is safe to repeat (GET, PUT, DELETE; a POST only when it never left, or when a 429 or
        503 asks for a few seconds); True says that the request carries an idempotency key; False never repeats.
        `timeout`: seconds for the whole call. `explain` reads the provider's own (code, sentence) from a failed answer.
        """
        fields = {name.lower(): header_value(name, value) for name, value in (headers or {}).items()}
        if auth is not None:
            fields["authorization"] = header_value("authorization", auth.header())
        built, content_type = _body(json, form, files, content)
        request = self._build(method.upper(), url, params, {**_DEFAULTS, **content_type, **fields}, built)
        safe = request.method in _SAFE if retry is None else retry
        seconds = timeout or self._policy.deadline
        try:
            async with asyncio.timeout(seconds):
                return await self._tries(request, safe, retry is not False, self._clock() + seconds, explain)
        except TimeoutError:
            raise NetworkFailed(f"{_host(request)} did not answer within {seconds:g} seconds.") from None

    async def _tries(
        self, request: Request, safe: bool, may_repeat: bool, deadline: float, explain: Explain | None
    ) -> Response:
        for attempt in range(TRIES):
            try:
                return await self._once(request, deadline, explain)
            except PluginError as error:
                pause = self._pause(error, attempt, safe) if may_repeat else None
                if pause is None or self._clock() + pause >= deadline:
                    raise
            await self._sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _pause(self, error: PluginError, attempt: int, safe: bool) -> float | None:
        """Seconds before the next try; None when this was the last."""
        if attempt + 1 >= TRIES or not error.effect.retryable or error.code == "circuit_open":
            return None
        if not safe and not isinstance(error, NotSent) and error.status not in (429, 503):
            return None
        wait = backoff(self._policy.limits.retry, attempt, self._chance)
        if error.retry_after is not None:
            return None if error.retry_after > PATIENCE or wait is None else error.retry_after + wait
        return wait if safe or isinstance(error, NotSent) else None

    async def _once(self, request: Request, deadline: float, explain: Explain | None) -> Response:
        host = _host(request)
        breaker = self._breakers.get(self._policy.plugin, host)
        rest = breaker.enter(self._clock())
        if rest:
            raise ProviderFailed(f"{host} has been failing and is left alone.", code="circuit_open", retry_after=rest)
        failed: bool | None = None
        try:
            await self._turn(host, deadline)
            async with self._slots:
                response = await self._exchange(request)
            self._judge(host, response, explain)
            failed = False
            return response
        except PluginError as error:
            failed = error.effect.breaker
            raise
        finally:
            breaker.leave(self._clock(), failed)

    async def _turn(self, host: str, deadline: float) -> None:
        """Wait for the pace the manifest declares and for the quiet a 429 asked for."""
        now = self._clock()
        granted, wait = self._bucket.reserve(now, deadline - now)
        if not granted:
            raise RateLimited(f"{host} is being called as fast as it allows.", code="local_limit", retry_after=wait)
        if wait:
            await self._sleep(wait)

    async def _exchange(self, request: Request) -> Response:
        async with self._wire.send(self._override(request)) as incoming:
            body = await read_body(incoming, self._policy.max_body)
            return Response(incoming.status, incoming.headers, body)

    def _judge(self, host: str, response: Response, explain: Explain | None) -> None:
        """Raise the error of a status that is not 2xx."""
        status = response.status
        if 200 <= status < 300:
            return
        kind = self._policy.error(status)
        code, detail = self._explained(response, explain)
        wait = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        if status == 429:
            self._bucket.pause(self._clock(), wait if wait is not None else 1.0)
        raise kind(detail or f"{host} answered {status}.", code=code, status=status, retry_after=wait)

    def _explained(self, response: Response, explain: Explain | None) -> tuple[str | None, str | None]:
        if explain is None:
            return None, None
        try:
            code, detail = explain(response)
        except Exception:
            return None, None  # an error page of a proxy in between, say: the status speaks for itself
        return (self._clean(str(code))[:64] if code else None), (self._clean(str(detail)) if detail else None)

    def _build(
        self, method: str, url: str, params: Params | None, headers: Mapping[str, str], body: dict[str, Any]
    ) -> Request:
        try:
            built = httpx.Request(method, url, params=params, headers=headers, **body)
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            raise ConfigInvalid(f"The request to the provider cannot be built: {self._clean(str(error))}.") from None
        self._declared(built.url)
        raw = tuple((name.decode("ascii").lower(), value.decode("latin-1")) for name, value in built.headers.raw)
        return Request(method, str(built.url.copy_with(fragment=None)), raw, built.read())

    def _declared(self, url: httpx.URL) -> None:
        """Only https, only the manifest's hosts, and never a literal address that is not public."""
        host, port = url.raw_host.decode("ascii").strip("[]").lower(), url.port or 443
        if url.scheme != "https" or url.userinfo:
            raise self._refused(host, "A provider is called by https, without a user name in the URL.")
        try:
            parsed = parse_host(host)
        except AddressRefused as error:
            raise self._refused(host, f"{host!r} is not a host name or address: {error}.") from None
        if not any(pattern.matches(str(parsed), port, 443) for pattern in self._policy.hosts):
            raise self._refused(host, f"{host}:{port} is not among the hosts declared by {self._policy.plugin!r}.")
        if not isinstance(parsed, str) and host not in self._policy.overrides and not vet(parsed, self._policy.allow):
            raise self._refused(host, f"{host} is not a public address.")

    def _refused(self, host: str, detail: str) -> ConfigInvalid:
        _log.warning("refused: the plugin %r may not call %r", self._policy.plugin, host)
        return ConfigInvalid(detail)

    def _override(self, request: Request) -> Request:
        parts = urlsplit(request.url)
        base = self._policy.overrides.get(parts.hostname or "")
        if base is None:
            return request
        stand_in = urlsplit(base)
        path = stand_in.path.rstrip("/") + parts.path
        headers = tuple((name, stand_in.netloc if name == "host" else value) for name, value in request.headers)
        return msgspec.structs.replace(
            request,
            url=f"{stand_in.scheme}://{stand_in.netloc}{path}{'?' + parts.query if parts.query else ''}",
            headers=(*headers, ("x-forwarded-host", parts.netloc)),
        )


class Pinned:
    """The real wire: a pool of connections to vetted addresses, one pool for each connection of a tenant."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        stand_ins = frozenset(_endpoint(base) for base in policy.overrides.values())
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_tls(),
            max_connections=policy.limits.concurrency,
            max_keepalive_connections=min(policy.limits.concurrency, 4),
            keepalive_expiry=15.0,
            network_backend=_Backend(policy.allow, stand_ins),
        )

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Incoming]:
        host = _host(request)
        raw = httpcore.Request(
            request.method,
            request.url,
            headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers],
            content=request.body,
            extensions={"timeout": {"connect": self._policy.connect_timeout, "pool": self._policy.deadline}},
        )
        try:
            answer = await self._pool.handle_async_request(raw)
            try:
                headers: dict[str, str] = {}
                for name, value in answer.headers:
                    key, text = name.decode("latin-1").lower(), value.decode("latin-1")
                    headers[key] = f"{headers[key]}, {text}" if key in headers else text
                async with aclosing(_stream(answer)) as chunks:
                    yield Incoming(answer.status, headers, chunks)
            finally:
                await answer.aclose()
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
            raise NotSent(f"{host} cannot be reached{_why(error)}.") from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError):
            raise NetworkFailed(f"The connection to {host} broke off.") from None
        except httpcore.LocalProtocolError:
            raise ConfigInvalid("The request holds characters that HTTP does not allow.") from None

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Backend(httpcore.AsyncNetworkBackend):
    """Resolves, vets, and connects to what was vetted; the name is used once."""

    def __init__(self, allow: Sequence[Network], stand_ins: frozenset[tuple[str, int]]) -> None:
        self._allow = allow
        self._stand_ins = stand_ins
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if (host, port) in self._stand_ins:
            return await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        try:
            async with asyncio.timeout(timeout):
                addresses = await resolve(host.strip("[]"), port, self._allow)
        except (AddressRefused, TimeoutError) as error:
            _log.warning("not connected to %r: %s", host, error or "the resolver is silent")
            raise httpcore.ConnectError from error
        failure: Exception = httpcore.ConnectError()
        for address in addresses[:4]:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """One context for the process: reading the certificate authorities takes 20 ms."""
    context = httpx.create_ssl_context(trust_env=False)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _stream(answer: httpcore.Response) -> AsyncGenerator[bytes, None]:
    async for chunk in answer.aiter_stream():
        yield chunk


def _body(
    json: Any, form: Form | None, files: Sequence[Part], content: bytes | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """httpx's arguments for the body, and the content type where httpx does not know it."""
    if json is not msgspec.UNSET:
        return {"content": msgspec.json.encode(json)}, {"content-type": "application/json"}
    if files:
        named = [(part.name, (part.filename, part.content, part.content_type)) for part in map(checked, files)]
        return {"data": _grouped(form or ()), "files": named}, {}
    if form is not None:
        encoded = urlencode(list(form.items() if isinstance(form, Mapping) else form)).encode()
        return {"content": encoded}, {"content-type": "application/x-www-form-urlencoded"}
    return {"content": content}, {}


def _endpoint(base: str) -> tuple[str, int]:
    parts = urlsplit(base)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _host(request: Request) -> str:
    return urlsplit(request.url).hostname or ""


def _why(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return ": its TLS certificate or protocol is not acceptable"
        cause = cause.__cause__ or cause.__context__
    return ""


def _grouped(form: Form) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in form.items() if isinstance(form, Mapping) else form:
        found.setdefault(name, []).append(value)
    return found
