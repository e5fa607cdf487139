"""Every error as a problem document (RFC 9457). The only module that knows status codes.

`{"type", "title", "status", "detail", "code", "errors": [{"pointer", "code", "detail"}], "request_id"}`; `code` is
stable and documented, `detail` is for people.
"""

import math
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, ValidationException

from penguin_hub.http.bodies import Malformed, TooLarge, UnsupportedMediaType
from penguin_hub.platform import errors
from penguin_hub.platform.errors import FieldError, HubError

log = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"
DOCS = "/docs/errors#"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"

# The most specific class wins; every HubError is one of these.
STATUS: dict[type[HubError], int] = {
    Malformed: 400,
    errors.Invalid: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    TooLarge: 413,
    UnsupportedMediaType: 415,
    errors.TooMany: 429,
    errors.Unavailable: 503,
    HubError: 500,
}

# What Litestar itself raises, in our words. Its own texts may quote the request, so they are not passed on.
FRAMEWORK: dict[int, tuple[str, str]] = {
    400: ("malformed_request", "The request cannot be understood."),
    401: ("unauthenticated", "Authenticate with `Authorization: Bearer <API key>`."),
    403: ("forbidden", "This credential may not do this."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method; `Allow` names those it takes."),
    406: ("not_acceptable", "This address answers in JSON only."),
    413: ("body_too_large", "The body is larger than this address takes."),
    415: ("unsupported_media_type", "Send JSON, with `Content-Type: application/json`."),
}


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The document, as it is described in the OpenAPI file."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[FieldError, ...] = ()
    request_id: str | None = None


def status_of(error: HubError) -> int:
    """The HTTP status that says it best."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_response(error: HubError, request_id: str | None) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an error: also for answers that are made before there is a Litestar request."""
    status = status_of(error)
    headers = {"content-type": CONTENT_TYPE, "cache-control": "no-store"}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    document = Problem(
        type=QUOTA_EXCEEDED if status == 429 else DOCS + error.code,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.detail,
        code=error.code,
        errors=error.errors,
        request_id=request_id,
    )
    return status, headers, msgspec.json.encode({**msgspec.to_builtins(document), **error.extra})


def _answer(error: HubError, request: Request[Any, Any, Any], extra: dict[str, str] | None = None) -> Response[bytes]:
    status, headers, body = problem_response(error, request.scope.get("request_id"))  # type: ignore[arg-type] # set by our own middleware
    headers.pop("content-type")
    return Response(body, status_code=status, headers={**headers, **(extra or {})}, media_type=CONTENT_TYPE)


def on_hub_error(request: Request[Any, Any, Any], error: HubError) -> Response[bytes]:
    """Domain errors, as they rose."""
    if status_of(error) >= 500:
        log.warning("request_failed", code=error.code, detail=error.detail, cause=repr(error.__cause__))
    return _answer(error, request)


def on_framework_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework refuses: no such route, wrong method, bad parameters."""
    if isinstance(error, ValidationException):
        return _answer(_bad_parameters(error), request)
    code, detail = FRAMEWORK.get(error.status_code, ("internal_error", "This is our fault; it has been logged."))
    kind = next((kind for kind, status in STATUS.items() if status == error.status_code), None)
    if kind is None:
        # 405 and 406 have no domain error of their own.
        problem = Problem(
            type=DOCS + code,
            title=HTTPStatus(error.status_code).phrase,
            status=error.status_code,
            detail=detail,
            code=code,
            request_id=request.scope.get("request_id"),  # type: ignore[arg-type] # set by our own middleware
        )
        return Response(
            msgspec.json.encode(problem),
            status_code=error.status_code,
            headers={key: value for key, value in (error.headers or {}).items() if key.lower() == "allow"},
            media_type=CONTENT_TYPE,
        )
    renamed = kind(detail)
    renamed.code = code  # type: ignore[misc] # this one instance speaks for the framework
    return _answer(renamed, request)


def on_bug(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Anything else is our own fault: logged whole, told in one sentence."""
    log.error("request_crashed", path=request.url.path, exc_info=error)
    return _answer(HubError("This is our fault; it has been logged under the request id."), request)


def _bad_parameters(error: ValidationException) -> HubError:
    found = []
    for item in error.extra if isinstance(error.extra, list) else ():
        if isinstance(item, dict) and item.get("key") == "data":
            return Malformed("This address needs a JSON body.")
        if isinstance(item, dict):
            found.append(FieldError(f"?{item.get('key', '')}", "invalid", str(item.get("message", "is not valid"))))
    bad = BadParameter("A parameter is not valid." if not found else f"{found[0].pointer}: {found[0].detail}.")
    bad.errors = tuple(found)
    return bad


class BadParameter(HubError):
    """A query or path parameter that is not acceptable."""

    code = "bad_parameter"


STATUS[BadParameter] = 400

HANDLERS: dict[Any, Any] = {HubError: on_hub_error, HTTPException: on_framework_error, Exception: on_bug}
MEDIA_TYPE = MediaType.JSON
