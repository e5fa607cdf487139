"""The rules of tenants: making and suspending them, and the version that tells every process of a change."""

import secrets

from penguin_hub.audit.service import AuditService
from penguin_hub.keys.hashing import MAX_BYTES, Hasher
from penguin_hub.limits.service import Limiter
from penguin_hub.platform import addresses, ids
from penguin_hub.platform.db import Connection, Database
from penguin_hub.platform.errors import Invalid
from penguin_hub.tenants import store
from penguin_hub.tenants.errors import BadPassword, TenantNotFound
from penguin_hub.tenants.plans import PLANS
from penguin_hub.tenants.schemas import NewTenant, Tenant

MIN_PASSWORD = 10


class TenantsService:
    def __init__(self, database: Database, hasher: Hasher, limiter: Limiter, audit: AuditService) -> None:
        self._database = database
        self._hasher = hasher
        self._limiter = limiter
        self._audit = audit

    async def create_tenant(
        self,
        name: str,
        plan: str = "starter",
        *,
        owner_email: str,
        owner_password: str | None = None,
        actor: str = "cli",
    ) -> NewTenant:
        """A tenant with its first workspace and its owner, who may sign in. Raises Invalid, BadPassword.

        Without a password one is made up; it is in the answer and nowhere else.
        """
        if plan not in PLANS:
            raise Invalid.field("#/plan", "choice", f"The plan is one of {', '.join(PLANS)}.")
        if not name.strip() or len(name) > 200 or not name.isprintable():
            raise Invalid.field("#/name", "length", "The name has 1 to 200 printable characters.")
        email, email_key = addresses.email(owner_email, "#/owner_email")
        password = owner_password if owner_password is not None else secrets.token_urlsafe(15)
        password_hash = await self._hasher.hash(_checked(password), "password")
        tenant, workspace, owner = ids.new("ten"), ids.new("wsp"), ids.new("usr")
        async with self._database.system() as connection:
            await store.insert(connection, tenant, name, plan)
            await store.insert_workspace(connection, tenant, workspace, "Default")
            await store.insert_user(
                connection,
                tenant,
                owner,
                email=email,
                email_key=email_key,
                role="owner",
                password_hash=password_hash,
            )
            await self._audit.add(
                connection, tenant, actor=actor, action="tenant.created", target=tenant, plan=plan, owner=owner
            )
            made = await store.get(connection, tenant)
        if made is None:
            raise _not_found()
        return NewTenant(made, owner, email, None if owner_password is not None else password)

    async def get(self, tenant: str) -> Tenant:
        """Raises TenantNotFound."""
        async with self._database.tenant(_known_form(tenant)) as connection:
            found = await store.get(connection, tenant)
        if found is None:
            raise _not_found()
        return found

    async def all_tenants(self) -> list[Tenant]:
        """For the operator only."""
        async with self._database.system() as connection:
            return await store.all_tenants(connection)

    async def suspend(self, tenant: str, *, actor: str = "cli") -> None:
        """From within a second every credential of the tenant is answered with 403. Raises TenantNotFound."""
        await self._set(tenant, actor, "tenant.suspended", status="suspended")

    async def resume(self, tenant: str, *, actor: str = "cli") -> None:
        """Raises TenantNotFound."""
        await self._set(tenant, actor, "tenant.resumed", status="active")

    async def change_plan(self, tenant: str, plan: str, *, actor: str = "cli") -> None:
        """The new limits hold from within a second. Raises TenantNotFound, Invalid."""
        if plan not in PLANS:
            raise Invalid.field("#/plan", "choice", f"The plan is one of {', '.join(PLANS)}.")
        await self._set(tenant, actor, "tenant.plan_changed", plan=plan)

    async def is_owner(self, connection: Connection, tenant: str, user: str) -> bool:
        """Whether that is a user of the tenant with the role owner."""
        return await store.role(connection, tenant, user) == "owner"

    async def raise_version(self, connection: Connection, tenant: str) -> int:
        """In the transaction that changes what a credential may do; `announce` after it. Raises TenantNotFound."""
        version = await store.raise_version(connection, tenant)
        if version is None:
            raise _not_found()
        return version

    async def announce(self, tenant: str, version: int) -> None:
        """After the commit: what PostgreSQL's own notice tells, by the second way. Never raises."""
        await self._limiter.announce(tenant, version)

    async def _set(
        self, tenant: str, actor: str, action: str, *, status: str | None = None, plan: str | None = None
    ) -> None:
        async with self._database.tenant(_known_form(tenant)) as connection:
            version = await self.raise_version(connection, tenant)
            if status is not None:
                await store.set_status(connection, tenant, status)
            if plan is not None:
                await store.set_plan(connection, tenant, plan)
            detail = {"plan": plan} if plan is not None else {}
            await self._audit.add(connection, tenant, actor=actor, action=action, target=tenant, **detail)
        await self.announce(tenant, version)


def _checked(password: str) -> str:
    if len(password) < MIN_PASSWORD:
        raise BadPassword(f"A password has at least {MIN_PASSWORD} characters.")
    if len(password.encode()) > MAX_BYTES:
        raise BadPassword(f"A password has at most {MAX_BYTES} bytes in UTF-8.")
    return password


def _known_form(tenant: str) -> str:
    if not ids.is_id(tenant, "ten"):
        raise _not_found()
    return tenant


def _not_found() -> TenantNotFound:
    return TenantNotFound("There is no such tenant.")
