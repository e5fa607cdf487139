"""API keys as clients send and see them, and as the gate reads them."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from penguin_hub.http.bodies import Input
from penguin_hub.http.principal import Environment

Scope = Literal[
    "send_email",
    "read_analytics",
    "manage_contacts",
    "manage_campaigns",
    "manage_templates",
    "manage_domains",
    "read_inbox",
    "manage_webhooks",
]
Scopes = Annotated[list[Scope], msgspec.Meta(max_length=8, description="What the key may do, beyond reading plugins.")]
KeyName = Annotated[
    str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["Billing service"])
]
Range = Annotated[str, msgspec.Meta(min_length=2, max_length=49, examples=["203.0.113.0/24", "2001:db8::/32"])]
Ranges = Annotated[
    list[Range], msgspec.Meta(max_length=100, description="Addresses the key works from (CIDR); empty: from anywhere.")
]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Status = Literal["active", "expired", "revoked"]

MAX_OVERLAP = 604_800
DEFAULT_OVERLAP = 86_400


class NewApiKey(Input, frozen=True):
    name: KeyName
    scopes: Scopes = []
    environment: Environment = "live"
    expires_at: Moment | None = None
    allowed_ips: Ranges = []
    admin: bool = False
    """May manage keys and connections. Only an owner who is signed in, or the command line, can make such a key."""


class ApiKeyChange(Input, frozen=True):
    """What is absent stays as it is."""

    name: KeyName | msgspec.UnsetType = msgspec.UNSET
    scopes: Scopes | msgspec.UnsetType = msgspec.UNSET
    expires_at: Moment | msgspec.UnsetType | None = msgspec.UNSET
    allowed_ips: Ranges | msgspec.UnsetType = msgspec.UNSET


class Rotation(Input, frozen=True):
    overlap_seconds: Annotated[
        int, msgspec.Meta(ge=0, le=MAX_OVERLAP, description="How long the old key goes on working, up to 7 days.")
    ] = DEFAULT_OVERLAP


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    prefix: str
    """`pm_live_` or `pm_test_`."""
    last4: str
    environment: Environment
    scopes: list[Scope]
    admin: bool
    allowed_ips: list[str]
    status: Status
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To about a minute."""
    rotated_from: str | None
    """The key that this one replaces."""
    version: int
    """Rises with every change; the ETag is made of it."""


class CreatedApiKey(ApiKey, frozen=True, kw_only=True):
    key: str
    """The key itself. Shown this once; nobody can show it again."""

    def __repr__(self) -> str:
        return f"CreatedApiKey(id={self.id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("id", self.id)]


class UsagePoint(msgspec.Struct, frozen=True):
    at: datetime
    """The start of the hour or day, UTC."""
    requests: int
    errors: int
    """Answers of 400 and above."""


class Usage(msgspec.Struct, frozen=True):
    granularity: Literal["hour", "day"]
    requests: int
    errors: int
    data: list[UsagePoint]


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate reads of a key and its tenant."""

    key_hmac: bytes
    tenant: str
    id: str
    environment: Environment
    scopes: list[str]
    admin: bool
    allowed_ips: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    pepper_id: str
    plan: str
    tenant_status: Literal["active", "suspended"]
    tenant_version: int
    workspace: str


class Count(msgspec.Struct, frozen=True):
    """Usage of one key in one hour that is still to be written."""

    tenant: str
    key_id: str
    hour: datetime
    requests: int
    errors: int
    last_used_at: datetime
