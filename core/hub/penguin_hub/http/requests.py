"""Around every request: its id, its log line, its metrics, and headers that every answer carries."""

import re
import time
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Counter, Histogram

from penguin_hub.platform import ids

log = structlog.get_logger(__name__)

_GIVEN = re.compile(r"[A-Za-z0-9._-]{8,64}")
# Not worth a line each: monitors ask every second.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

REQUESTS = Counter("penguin_http_requests", "Requests answered, by method and status.", ["method", "status"])
SECONDS = Histogram(
    "penguin_http_request_seconds",
    "Time from the first byte of the request to the last of the answer.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)

_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class RequestContext:
    """Raw ASGI middleware, outermost. A client's own `X-Request-Id` is kept when it is short and plain."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        request_id = _given(scope) or ids.new("req")
        scope["request_id"] = request_id  # type: ignore[typeddict-unknown-key] # ours, read by http/problems
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *_ALWAYS]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - started
            REQUESTS.labels(method if method in _METHODS else "other", str(status)).inc()
            SECONDS.observe(seconds)
            if path not in _QUIET:
                log.info(
                    "request",
                    method=method,
                    path=path,
                    status=status,
                    ms=round(seconds * 1000, 1),
                )


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _given(scope: Any) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = str(value.decode("latin-1"))
            return text if _GIVEN.fullmatch(text) else None
    return None
