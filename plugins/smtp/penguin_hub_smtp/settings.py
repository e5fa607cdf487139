"""What a tenant says about his server."""

from typing import Annotated, Final, Literal

from msgspec import Meta
from penguin_hub_sdk import Config, Secret

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Settings(Config, frozen=True):
    host: Annotated[str, Meta(title="Server", description="Such as smtp.example.com.", min_length=1, max_length=253)]
    port: Annotated[int, Meta(title="Port", description="587 for STARTTLS, 465 for TLS.", ge=1, le=65535)] = 587
    username: Annotated[Annotated[str, Meta(min_length=1, max_length=320)] | None, Meta(title="User name")] = None
    password: Annotated[Secret | None, Meta(title="Password")] = None
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(title="Security", description="`none` sends mail in the clear, and takes no user name."),
    ] = "starttls"
    ca_certificate: Annotated[
        Annotated[str, Meta(max_length=65536)] | None,
        Meta(
            title="CA certificate",
            description="PEM, for a server whose certificate no public authority signed; then no other is trusted.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if bool(self.username) != bool(self.password):
            raise ValueError("username and password belong together: give both or neither")
        if self.username and self.security == "none" and self.host not in LOOPBACK:
            raise ValueError("a password is never sent in the clear: set security to starttls or tls, or take it out")
