"""Tenants, users and sessions as clients send and see them, and as the gate reads them."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from penguin_hub.http.bodies import Input
from penguin_hub.http.principal import Principal
from penguin_hub.tenants.roles import ADMIN, SCOPES_OF, Role

TenantStatus = Literal["active", "suspended"]


class Login(Input, frozen=True):
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254, examples=["owner@example.com"])]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    tenant: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    """Only needed when the same address and password belong to users of several tenants."""

    def __repr__(self) -> str:
        return "Login()"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class SignedIn(msgspec.Struct, frozen=True):
    token: str
    """For `Authorization: Bearer`; browsers get the same as a cookie. Shown this once."""
    expires_at: datetime
    user: str
    tenant: str
    role: Role

    def __repr__(self) -> str:
        return f"SignedIn(user={self.user!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class Tenant(msgspec.Struct, frozen=True):
    id: str
    name: str
    plan: str
    status: TenantStatus
    version: int
    workspace: str
    """The first workspace: where things go when a request names none."""
    created_at: datetime


class NewTenant(msgspec.Struct, frozen=True):
    """A tenant that was just made, with its owner's password if that was made up here."""

    tenant: Tenant
    owner: str
    owner_email: str
    owner_password: str | None

    def __repr__(self) -> str:
        return f"NewTenant(tenant={self.tenant!r}, owner={self.owner!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class User(msgspec.Struct, frozen=True):
    """Somebody who may sign in, as the login reads him."""

    tenant: str
    id: str
    role: Role
    password_hash: str
    tenant_name: str
    tenant_status: TenantStatus

    def __repr__(self) -> str:
        return f"User(id={self.id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class Session(msgspec.Struct, frozen=True):
    """A session that is good now."""

    tenant: str
    id: str
    user: str
    role: Role
    plan: str
    tenant_status: TenantStatus
    tenant_version: int
    workspace: str
    expires_at: datetime

    def principal(self) -> Principal:
        return Principal(
            tenant=self.tenant,
            workspace=self.workspace,
            actor=self.user,
            scopes=SCOPES_OF[self.role],
            environment="live",
            admin=self.role in ADMIN,
            plan=self.plan,
        )
