"""What `penguin listen` does, by the public API alone: poll, sign, forward, and clean up.

One thread and plain sockets: a long poll can be interrupted anywhere, and no proxy of the environment stands between a
developer and a server of his own.
"""

import http.client
import json
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from penguin_hub_sdk import signing

from penguin_hub.delivery.destinations import USER_AGENT
from penguin_hub.platform.embedded.errors import StartupError

WAIT_SECONDS: Final = 20
TIMEOUT_SECONDS: Final = 30
LONGEST_PAUSE: Final = 5.0

_Failure = (OSError, http.client.HTTPException)


class Endpoint(msgspec.Struct, frozen=True):
    id: str
    secret: str


class Heard(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event, and what became of its forward."""

    id: str
    type: str
    timestamp: str
    status: int | None = None
    error: str | None = None
    ms: float | None = None


class Away(Exception):
    """The hub cannot be reached now, or asks to be left alone for a while."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Refused(StartupError):
    """The hub said no."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Envelope(msgspec.Struct):
    id: str
    type: str
    timestamp: str


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    next_cursor: str
    has_more: bool


class Target:
    """An HTTP server, over one connection that is kept."""

    def __init__(self, url: str) -> None:
        """Raises StartupError."""
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname)
            self._port = parts.port
        except ValueError:
            known = False
        if not known:
            raise StartupError(f"{url} is not the address of a server: it begins with http:// or https://.")
        self._parts = parts
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection: http.client.HTTPConnection | None = None

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """The answer with its body. Raises OSError and HTTPException. What was sent may have arrived all the same."""
        fresh = self._connection is None
        try:
            return self._ask(method, path, headers, body)
        except (ConnectionError, http.client.BadStatusLine):
            # A kept connection that the other side had closed meanwhile.
            if fresh:
                raise
        return self._ask(method, path, headers, body)

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self._connection or self._connected()
        self._connection = None
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return answer, content

    def _connected(self) -> http.client.HTTPConnection:
        host = self._parts.hostname or ""
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, self._port, timeout=TIMEOUT_SECONDS, context=context)
        return http.client.HTTPConnection(host, self._port, timeout=TIMEOUT_SECONDS)


class Hub:
    """The public API, with a key."""

    def __init__(self, url: str, key: str) -> None:
        self._target = Target(url.rstrip("/"))
        self._base = self._target.path.rstrip("/") + "/api/v1"
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """Raises Away, Refused."""
        content = None if body is None else json.dumps(body).encode()
        try:
            answer, said = self._target.ask(method, self._base + path, self._headers, content)
        except _Failure as error:
            raise Away(_reason(error)) from error
        if answer.status < 300:
            return said
        if answer.status == 429 or answer.status >= 500:
            hint = answer.getheader("retry-after", "")
            raise Away(f"it answers {answer.status}", float(hint) if hint.isdigit() else None)
        try:
            detail = str(json.loads(said)["detail"])
        except (ValueError, KeyError, TypeError):
            detail = f"It answers {answer.status}: is this the address of a hub?"
        raise Refused(answer.status, f"The hub refused: {detail}")


@contextmanager
def endpoint(hub: Hub, events: list[str], kept: str | None, secret: str | None) -> Iterator[Endpoint]:
    """An endpoint to poll: `kept`, or a new one that is deleted at the end. Raises StartupError."""
    own = {} if secret is None else {"secret": secret}
    try:
        if secret is not None:
            signing.parse(secret)
        if kept is not None:
            made = _reused(hub, kept, own, secret)
        else:
            body = {"mode": "poll", "events": events, "description": "penguin listen", **own}
            made = msgspec.json.decode(hub.ask("POST", "/webhooks", body), type=Endpoint)
    except signing.SecretInvalid as error:
        raise StartupError(f"The signing secret cannot be used: {error}.") from error
    except Away as error:
        raise StartupError(f"The hub cannot be used: {error}. Does it run, and is --url right?") from error
    if kept is not None:
        yield made
        return
    try:
        yield made
    finally:
        _delete(hub, made.id)


def listen(hub: Hub, made: Endpoint, target: Target | None) -> Iterator[Heard]:
    """Every event once it was forwarded, without an end. Raises Refused when the endpoint or the key is gone."""
    signer = signing.parse(made.secret)
    cursor: str | None = None
    pause = 0.0
    while True:
        query = {"wait": str(WAIT_SECONDS), **({} if cursor is None else {"cursor": cursor})}
        try:
            raw = hub.ask("GET", f"/webhooks/{quote(made.id)}/poll?{urlencode(query)}")
        except Away as error:
            if not pause:
                _note(f"The hub is away ({error}); trying again.")
            pause = min(LONGEST_PAUSE, error.seconds or pause * 2 or 0.25)
            time.sleep(pause)
            continue
        if pause:
            _note("The hub is back.")
            pause = 0.0
        page = msgspec.json.decode(raw, type=_Page)
        for body in page.data:
            yield forward(bytes(body), signer, target)
        cursor = page.next_cursor


def forward(body: bytes, signer: signing.Signer, target: Target | None) -> Heard:
    """Post one event as the hub would have."""
    event = msgspec.json.decode(body, type=_Envelope)
    if target is None:
        return Heard(event.id, event.type, event.timestamp)
    headers = {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        **signing.headers([signer], event.id, int(time.time()), body),
    }
    started = time.perf_counter()
    status: int | None = None
    failure: str | None = None
    try:
        answer, _ = target.ask("POST", target.path, headers, body)
        status = answer.status
    except _Failure as error:
        failure = _reason(error)
    ms = round((time.perf_counter() - started) * 1000, 1)
    return Heard(event.id, event.type, event.timestamp, status, failure, ms)


def _reused(hub: Hub, kept: str, own: dict[str, str], secret: str | None) -> Endpoint:
    """An endpoint that is there already. Its secret cannot be read, so it gets the given one, or a new one."""
    path = f"/webhooks/{quote(kept, safe='')}"
    if json.loads(hub.ask("GET", path))["mode"] != "poll":
        raise StartupError(f"{kept} is not polled: leave --endpoint away, or make one with mode poll.")
    try:
        rotated = json.loads(hub.ask("POST", f"{path}/rotate-secret", {"grace_seconds": 0, **own}))
    except Refused as error:
        # The given secret is the one in use.
        if error.status != 422 or secret is None:
            raise
        return Endpoint(kept, secret)
    return Endpoint(kept, rotated["secret"])


def _delete(hub: Hub, webhook: str) -> None:
    try:
        hub.ask("DELETE", f"/webhooks/{quote(webhook)}")
    except Refused as error:
        if error.status != 404:
            _note(f"{error} The endpoint {webhook} stays: delete it yourself.")
    except Away as error:
        _note(f"The hub is away ({error}): the endpoint {webhook} stays; delete it yourself.")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {TIMEOUT_SECONDS} s"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return getattr(error, "strerror", None) or type(error).__name__


def _note(text: str) -> None:
    sys.stderr.write(f"penguin: {text}\n")
    sys.stderr.flush()
