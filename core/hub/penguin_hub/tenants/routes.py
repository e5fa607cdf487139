"""`/platform/sessions`."""

from typing import Any

from litestar import Request, Response, delete, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import JSONBody

from penguin_hub.http.guards import any_key
from penguin_hub.http.principal import COOKIE, bearer_or_cookie
from penguin_hub.tenants.errors import InvalidSession
from penguin_hub.tenants.schemas import Login, SignedIn
from penguin_hub.tenants.sessions import SESSION_HOURS, SessionsService, is_session_token

TAGS = ["Sessions"]


def _cookie(value: str, seconds: int, *, secure: bool) -> Cookie:
    return Cookie(
        key=COOKIE,
        value=value,
        path="/",
        httponly=True,
        samesite="lax",
        secure=secure,
        max_age=seconds,
    )


@post("/platform/sessions", tags=TAGS, operation_id="createSession", summary="Sign in")
async def create_session(
    data: JSONBody[Login],
    sessions: NamedDependency[SessionsService],
) -> Response[SignedIn]:
    """A token for `Authorization: Bearer`, and the same as a cookie for browsers. 503 while attempts cannot be counted.

    With the cookie, whatever changes something needs the header `x-penguin-csrf` (any value) as well.
    """
    made = await sessions.sign_in(data)
    return Response(
        made,
        status_code=201,
        headers={"cache-control": "no-store"},
        cookies=[_cookie(made.token, SESSION_HOURS * 3600, secure=sessions.secure_cookies)],
    )


@delete(
    "/platform/sessions", guards=[any_key], tags=TAGS, operation_id="deleteSession", summary="Sign out", status_code=204
)
async def delete_session(
    request: Request[Any, Any, Any],
    sessions: NamedDependency[SessionsService],
) -> Response[None]:
    """Ends the session that asks. 401 for an API key, which has no session."""
    token = bearer_or_cookie(request.scope)
    if not is_session_token(token):
        raise InvalidSession("An API key has no session to end.")
    await sessions.sign_out(token)
    return Response(None, status_code=204, cookies=[_cookie("", 0, secure=sessions.secure_cookies)])


routes = [create_session, delete_session]
