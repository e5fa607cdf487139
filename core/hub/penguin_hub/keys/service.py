"""The rules of API keys: making, changing, rotating and revoking them.

Each change is one transaction with its audit entry and the tenant's new version; the notices go out with the commit
(PostgreSQL) and right after it (Redis). The bcrypt hash is written to the secret store before the row, so that no key
is ever listed that cannot be checked, and erased after the key has ended.
"""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from penguin_hub.audit.service import AuditService
from penguin_hub.http.guards import SCOPES
from penguin_hub.http.paging import Page, Paging
from penguin_hub.http.principal import Environment, Principal
from penguin_hub.keys import format as key_format
from penguin_hub.keys import store
from penguin_hub.keys.confirm import secret_path
from penguin_hub.keys.errors import KeyChanged, KeyNotActive, KeyNotFound, NotYours, TooManyKeys
from penguin_hub.keys.hashing import Hasher
from penguin_hub.keys.peppers import Peppers
from penguin_hub.keys.schemas import ApiKey, ApiKeyChange, CreatedApiKey, NewApiKey, Rotation, Usage
from penguin_hub.limits.service import Limiter
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Connection, Database
from penguin_hub.platform.errors import HubError, Invalid
from penguin_hub.tenants.schemas import Tenant
from penguin_hub.tenants.service import TenantsService
from penguin_hub.vault.service import SecretStore

log = structlog.get_logger(__name__)

MOST_KEYS: Final = 100
"""Active at one time, for a tenant."""
PER_HOUR: Final = 100
"""Keys that a tenant may make."""
MOST_POINTS: Final = 2_000


def command_line(tenant: Tenant) -> Principal:
    """The operator at the machine, who may do whatever an owner may."""
    return Principal(
        tenant=tenant.id,
        workspace=tenant.workspace,
        actor="cli",
        scopes=frozenset(SCOPES),
        environment="live",
        admin=True,
        plan=tenant.plan,
    )


class KeysService:
    def __init__(
        self,
        database: Database,
        secrets: SecretStore,
        hasher: Hasher,
        limiter: Limiter,
        tenants: TenantsService,
        audit: AuditService,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._hasher = hasher
        self._limiter = limiter
        self._tenants = tenants
        self._audit = audit
        self._peppers = Peppers(secrets)

    async def create(self, principal: Principal, new: NewApiKey) -> CreatedApiKey:
        """Raises Invalid, NotYours, TooManyKeys, RateLimited, Unavailable (also while Redis is away)."""
        values: dict[str, Any] = {
            "name": new.name,
            "environment": new.environment,
            "scopes": _scopes(new.scopes, principal),
            "admin": new.admin,
            "allowed_ips": _ranges(new.allowed_ips),
            "expires_at": _future(new.expires_at),
        }
        if not new.scopes and not new.admin:
            raise Invalid.field("#/scopes", "required", "A key without scopes could do nothing.")
        if new.admin and not await self._is_owner(principal):
            raise NotYours("Only a signed-in owner, or the command line, can make a key with `admin: true`.")
        return await self._make(principal, values)

    async def page(
        self, principal: Principal, paging: Paging, *, environment: str | None = None, status: str | None = None
    ) -> Page[ApiKey]:
        async with self._database.tenant(principal.tenant) as connection:
            found = await store.page(connection, principal.tenant, paging, environment=environment, status=status)
            total = None
            if paging.offset is not None:
                total = await store.count(connection, principal.tenant, environment=environment, status=status)
        return paging.page(found, lambda key: (getattr(key, paging.sort_by), key.id), total)

    async def get(self, principal: Principal, key_id: str) -> ApiKey:
        """Raises KeyNotFound."""
        async with self._database.tenant(principal.tenant) as connection:
            found = await store.get(connection, principal.tenant, _known_form(key_id))
        if found is None:
            raise _not_found()
        return found

    async def change(self, principal: Principal, key_id: str, change: ApiKeyChange, version: int | None) -> ApiKey:
        """What is given. `version`: only if it is still that one.

        Raises KeyNotFound, KeyChanged, KeyNotActive, Invalid, NotYours.
        """
        given = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not msgspec.UNSET}
        if "allowed_ips" in given:
            given["allowed_ips"] = _ranges(given["allowed_ips"])
        if "expires_at" in given:
            given["expires_at"] = _future(given["expires_at"])
        async with self._database.tenant(principal.tenant) as connection:
            key = await self._locked(connection, principal, key_id)
            if version is not None and key.version != version:
                raise KeyChanged("Somebody else changed this key; read it again and repeat your change.")
            if key.status != "active":
                raise KeyNotActive(f"This key is {key.status}: it cannot be changed any more.")
            if "scopes" in given:
                given["scopes"] = _scopes(given["scopes"], principal, key.scopes)
                if not given["scopes"] and not key.admin:
                    raise Invalid.field("#/scopes", "required", "A key without scopes could do nothing.")
            if not given:
                return key
            changed = await store.update(connection, principal.tenant, key_id, given)
            tenant_version = await self._tenants.raise_version(connection, principal.tenant)
            await self._audit.add(
                connection,
                principal.tenant,
                actor=principal.actor,
                action="api_key.changed",
                target=key_id,
                fields=sorted(given),
            )
        await self._tenants.announce(principal.tenant, tenant_version)
        return changed

    async def revoke(self, principal: Principal, key_id: str) -> None:
        """From within a second no process takes it. Revoking once more is no error. Raises KeyNotFound."""
        async with self._database.tenant(principal.tenant) as connection:
            key = await self._locked(connection, principal, key_id)
            if key.status == "revoked":
                return
            tenant_version = await self._end(connection, principal, key_id, {"revoked_at": clock.now()}, "revoked")
        await self._tenants.announce(principal.tenant, tenant_version)
        await self._erase(principal.tenant, key_id)

    async def rotate(self, principal: Principal, key_id: str, rotation: Rotation) -> CreatedApiKey:
        """A new key in the place of an old one, which goes on working for the overlap.

        Raises KeyNotFound, KeyNotActive, NotYours, TooManyKeys, RateLimited, Unavailable.
        """
        key = await self.get(principal, key_id)
        if key.status != "active":
            raise KeyNotActive(f"This key is {key.status}: make a new one instead.")
        _may_grant(principal, key.environment, key.scopes)
        # Whoever holds an admin key may replace it by itself; anybody else would be making one.
        if key.admin and principal.actor != key.id and not await self._is_owner(principal):
            raise NotYours("Only a signed-in owner, the command line, or the key itself can rotate an admin key.")
        now = clock.now()
        lifetime = key.expires_at - key.created_at if key.expires_at else None
        values: dict[str, Any] = {
            "name": key.name,
            "environment": key.environment,
            "scopes": key.scopes,
            "admin": key.admin,
            "allowed_ips": key.allowed_ips,
            "expires_at": now + lifetime if lifetime else None,
            "rotated_from": key.id,
        }
        made = await self._make(principal, values, replaces=key, overlap=rotation.overlap_seconds)
        if rotation.overlap_seconds == 0:
            await self._erase(principal.tenant, key_id)
        return made

    async def usage(
        self, principal: Principal, key_id: str, *, since: datetime, until: datetime, granularity: str
    ) -> Usage:
        """Raises KeyNotFound, Invalid (more than MOST_POINTS points)."""
        step = timedelta(hours=1) if granularity == "hour" else timedelta(days=1)
        if until <= since or (until - since) / step > MOST_POINTS:
            raise Invalid.field("?since", "range", f"`since` lies before `until`, by at most {MOST_POINTS} points.")
        await self.get(principal, key_id)
        async with self._database.tenant(principal.tenant) as connection:
            points = await store.usage(connection, principal.tenant, key_id, since, until, granularity)
        return Usage(
            "hour" if granularity == "hour" else "day",
            sum(point.requests for point in points),
            sum(point.errors for point in points),
            points,
        )

    async def rotate_pepper(self) -> str:
        """For the operator: a new pepper for the hashes of keys; its id. Raises CasConflict, Unavailable."""
        await self._peppers.all()
        return await self._peppers.rotate()

    async def _make(
        self,
        principal: Principal,
        values: dict[str, Any],
        *,
        replaces: ApiKey | None = None,
        overlap: int = 0,
    ) -> CreatedApiKey:
        _may_grant(principal, values["environment"], values["scopes"])
        tenant = principal.tenant
        if principal.actor != "cli":
            await self._limiter.throttle("key-creation", tenant, most=PER_HOUR, seconds=3600)
        key_id = ids.new("key")
        key = key_format.generate(values["environment"])
        pepper = await self._peppers.current()
        hashed = await self._hasher.hash(key, "new_key")
        await self._secrets.write(tenant, secret_path(key_id), {"bcrypt": hashed}, cas=0)
        values |= {
            "id": key_id,
            "key_hmac": pepper.digest(key),
            "pepper_id": pepper.id,
            "last4": key[-4:],
            "created_by": principal.actor,
            "created_at": clock.now(),
        }
        tenant_version = None
        try:
            async with self._database.tenant(tenant) as connection:
                if await store.count_active(connection, tenant) >= MOST_KEYS:
                    raise TooManyKeys(f"A tenant has at most {MOST_KEYS} active keys; revoke those you do not use.")
                made = await store.insert(connection, tenant, values)
                await self._audit.add(
                    connection,
                    tenant,
                    actor=principal.actor,
                    action="api_key.created",
                    target=key_id,
                    environment=made.environment,
                    scopes=list(made.scopes),
                    admin=made.admin,
                )
                if replaces is not None:
                    tenant_version = await self._replace(connection, principal, replaces, key_id, overlap)
        except BaseException:
            await self._erase(tenant, key_id, mark=False)
            raise
        if tenant_version is not None:
            await self._tenants.announce(tenant, tenant_version)
        return CreatedApiKey(key=key, **msgspec.structs.asdict(made))

    async def _replace(
        self, connection: Connection, principal: Principal, old: ApiKey, new_id: str, overlap: int
    ) -> int:
        key = await self._locked(connection, principal, old.id)
        if key.status != "active":
            raise KeyNotActive(f"This key is {key.status}: make a new one instead.")
        now = clock.now()
        end = now + timedelta(seconds=overlap)
        if overlap == 0:
            changes: dict[str, Any] = {"revoked_at": now}
        else:
            changes = {"expires_at": min(end, key.expires_at) if key.expires_at else end}
        return await self._end(connection, principal, old.id, changes, "rotated", to=new_id, overlap_seconds=overlap)

    async def _end(
        self,
        connection: Connection,
        principal: Principal,
        key_id: str,
        changes: dict[str, Any],
        word: str,
        **detail: Any,
    ) -> int:
        await store.update(connection, principal.tenant, key_id, changes)
        await self._audit.add(
            connection, principal.tenant, actor=principal.actor, action=f"api_key.{word}", target=key_id, **detail
        )
        return await self._tenants.raise_version(connection, principal.tenant)

    async def _erase(self, tenant: str, key_id: str, *, mark: bool = True) -> None:
        """Take the bcrypt hash out of the secret store. What fails is tried again by the worker (`keys.jobs`)."""
        try:
            await self._secrets.erase(tenant, secret_path(key_id))
            if mark:
                async with self._database.tenant(tenant) as connection:
                    await store.erased(connection, tenant, key_id)
        except HubError as error:
            log.info("key_hash_erased_later", key=key_id, code=error.code)

    async def _locked(self, connection: Connection, principal: Principal, key_id: str) -> ApiKey:
        found = await store.locked(connection, principal.tenant, _known_form(key_id))
        if found is None:
            raise _not_found()
        return found

    async def _is_owner(self, principal: Principal) -> bool:
        if principal.actor == "cli":
            return True
        if not ids.is_id(principal.actor, "usr"):
            return False
        async with self._database.tenant(principal.tenant) as connection:
            return await self._tenants.is_owner(connection, principal.tenant, principal.actor)


def _may_grant(principal: Principal, environment: Environment, scopes: Sequence[str]) -> None:
    """Nobody hands out what he does not have. Raises NotYours."""
    if principal.environment == "test" and environment == "live":
        raise NotYours("A test key cannot make live keys.")
    for scope in scopes:
        if scope not in principal.scopes:
            raise NotYours(f"You cannot grant `{scope}`, which you do not have.", needed_scope=scope)


def _scopes(scopes: Sequence[str], principal: Principal, already: Sequence[str] = ()) -> list[str]:
    """Once each. What a key has already may stay, whoever changes it."""
    _may_grant(principal, principal.environment, [scope for scope in scopes if scope not in already])
    return list(dict.fromkeys(scopes))


def _ranges(ranges: Sequence[str]) -> list[str]:
    """Each in its one canonical form; IPv4 inside IPv6 as the IPv4 it is. Raises Invalid."""
    found = []
    for position, text in enumerate(ranges):
        try:
            network = ipaddress.ip_network(text, strict=True)
        except ValueError as error:
            raise Invalid.field(
                f"#/allowed_ips/{position}", "format", f"Not an address or a range in CIDR form: {error}"
            ) from error
        if isinstance(network, ipaddress.IPv6Network):
            if network.network_address.scope_id is not None:
                raise Invalid.field(f"#/allowed_ips/{position}", "format", "A range has no zone.")
            mapped = network.network_address.ipv4_mapped
            if mapped is not None and network.prefixlen >= 96:
                network = ipaddress.IPv4Network((mapped, network.prefixlen - 96))
        found.append(str(network))
    return list(dict.fromkeys(found))


def _future(moment: datetime | None) -> datetime | None:
    if moment is not None and moment <= clock.now():
        raise Invalid.field("#/expires_at", "range", "`expires_at` lies in the future.")
    return moment


def _known_form(key_id: str) -> str:
    if not ids.is_id(key_id, "key"):
        raise _not_found()
    return key_id


def _not_found() -> KeyNotFound:
    return KeyNotFound("There is no such API key.")
