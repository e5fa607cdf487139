"""What a route asks of its caller, named in the route's decorator."""

from collections.abc import Callable
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from penguin_hub.http.principal import Principal
from penguin_hub.platform.errors import Forbidden, Unauthenticated

SCOPES: Final = (
    "send_email",
    "read_analytics",
    "manage_contacts",
    "manage_campaigns",
    "manage_templates",
    "manage_domains",
    "read_inbox",
    "manage_webhooks",
)

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], None]


class MissingScope(Forbidden):
    """The key is good and lacks the scope."""

    code = "missing_scope"


class AdminOnly(Forbidden):
    """Only an owner, an admin, or a key with `admin: true`."""

    code = "admin_only"


def principal_of(connection: Connection) -> Principal:
    """The authenticated caller. Raises Unauthenticated."""
    principal = connection.scope.get("user")
    if not isinstance(principal, Principal):
        raise Unauthenticated("Authenticate with `Authorization: Bearer <API key>`.")
    return principal


def requires(scope: str) -> Guard:
    """Only for callers that hold `scope`; the refusal names it."""
    if scope not in SCOPES:
        raise ValueError(f"{scope} is not a scope")

    def guard(connection: Connection, _: BaseRouteHandler) -> None:
        if scope not in principal_of(connection).scopes:
            raise MissingScope(f"This needs a key with the scope `{scope}`.", needed_scope=scope)

    guard.scope = scope  # type: ignore[attr-defined] # read by the OpenAPI document and the route inventory test
    return guard


def admin_only(connection: Connection, _: BaseRouteHandler) -> None:
    """For keys and connections: what hands out power is not in any scope."""
    if not principal_of(connection).admin:
        raise AdminOnly("This needs a signed-in owner or admin, or a key with `admin: true`.")


def any_key(connection: Connection, _: BaseRouteHandler) -> None:
    """For any authenticated caller."""
    principal_of(connection)
