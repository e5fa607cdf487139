"""How an endpoint knows us: basic, OAuth 2.0 client credentials, or a client certificate. (A secret header of one's own
is among the endpoint's `headers`.)

The secret store holds what was given. The database and every answer hold it with MASK in the secret's place; given back
like that, the mask stands for the secret that is kept.
"""

import base64
import re
from typing import Annotated, Any, Final, Literal

import msgspec

from penguin_hub.delivery import identity
from penguin_hub.http.bodies import Input
from penguin_hub.platform.errors import Invalid

MASK: Final = "********"

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
_Pem = Annotated[str, msgspec.Meta(min_length=1, max_length=identity.MAX_PEM)]


class _Quiet(Input, frozen=True, kw_only=True):
    """Shows nothing of itself in a log."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class Basic(_Quiet, frozen=True, kw_only=True, tag_field="type", tag="basic"):
    """A user name and a password (RFC 7617)."""

    username: Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[^:\x00-\x1f\x7f]+$")]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]
    """Never shown again."""


class OAuth2(_Quiet, frozen=True, kw_only=True, tag_field="type", tag="oauth2"):
    """A bearer token by the client credentials of OAuth 2.0 (RFC 6749, 4.4)."""

    token_url: Annotated[str, msgspec.Meta(min_length=1, max_length=2048, examples=["https://id.example.com/token"])]
    client_id: _Text
    client_secret: _Text
    """Never shown again."""
    scope: Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^[\x21\x23-\x5b\x5d-\x7e ]+$")] | None = None
    audience: _Text | None = None
    client_auth: Literal["basic", "body"] = "basic"
    """Where the client's id and secret stand: in the Authorization header or in the form."""


class MutualTls(_Quiet, frozen=True, kw_only=True, tag_field="type", tag="mtls"):
    """A client certificate. The endpoint's URL is https."""

    certificate: _Pem
    """In PEM, the client's own first, then what the receiver needs to follow the chain."""
    private_key: _Pem
    """In PEM, without a passphrase. Never shown again."""


Auth = Basic | OAuth2 | MutualTls

_SECRET: Final[dict[type[Auth], str]] = {
    Basic: "password",
    OAuth2: "client_secret",
    MutualTls: "private_key",
}
# A kept secret goes only where it went before: with another one of these it has to be given again.
_BOUND_TO: Final[dict[type[Auth], str | None]] = {Basic: None, OAuth2: "token_url", MutualTls: "certificate"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def masked(auth: Auth) -> Auth:
    return msgspec.structs.replace(auth, **{_SECRET[type(auth)]: MASK})


def completed(given: Auth, held: Auth | None) -> Auth:
    """With the kept secret in the mask's place, and checked. Raises Invalid."""
    name = _SECRET[type(given)]
    if getattr(given, name) == MASK:
        bound = _BOUND_TO[type(given)]
        if type(held) is not type(given) or (bound and getattr(held, bound) != getattr(given, bound)):
            raise Invalid.field(f"#/auth/{name}", "masked", "No secret is kept for this; give one.")
        given = msgspec.structs.replace(given, **{name: getattr(held, name)})
    if isinstance(given, OAuth2):
        for field in ("client_id", "client_secret", "audience"):
            if _CONTROL.search(getattr(given, field) or ""):
                raise Invalid.field(f"#/auth/{field}", "format", "No control characters, please.")
    if isinstance(given, MutualTls):
        try:
            identity.check(given.certificate, given.private_key)
        except identity.IdentityInvalid as error:
            raise Invalid.field("#/auth", "certificate", f"Not a client certificate: {error}.") from None
    return given


def basic_header(auth: Basic) -> str:
    return "Basic " + base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode("ascii")
