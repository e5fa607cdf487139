"""Endpoints: made, shown, changed, rotated, switched on and off."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol

import msgspec
from penguin_hub_sdk import addresses, signing

from penguin_hub.delivery import credentials, destinations, retry, store
from penguin_hub.delivery.authentication import MASK, Auth, OAuth2
from penguin_hub.delivery.client import Client
from penguin_hub.delivery.destinations import Held, HeldSecret
from penguin_hub.delivery.errors import TooManySecrets, TooManyWebhooks, UrlNotAllowed, WebhookNotFound
from penguin_hub.delivery.legacy import LegacySignature
from penguin_hub.delivery.matching import Filter
from penguin_hub.delivery.schemas import (
    ChangedWebhook,
    Health,
    Mode,
    NewWebhook,
    ReplacedWebhook,
    Rotated,
    Rotation,
    Webhook,
)
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Page, Paging
from penguin_hub.http.principal import Principal
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Connection, Database, Record, UniqueViolation
from penguin_hub.platform.errors import Invalid
from penguin_hub.vault.service import SecretStore

MAX_WEBHOOKS: Final = 200
"""Endpoints of one tenant."""
MAX_SECRETS: Final = 10
"""Signing secrets of one endpoint that are good at the same time."""
HEALTH_HOURS: Final = 24


class ConnectionChecker(Protocol):
    """Knows which of a tenant's connections can take events; the connections feature is one."""

    async def accepts_events(self, tenant: str, connection: str) -> bool: ...


class WebhooksService:
    """One for the process. `client` is asked only what a URL leads to; nothing is sent by it."""

    def __init__(
        self,
        database: Database,
        secrets: SecretStore,
        client: Client,
        connections: ConnectionChecker | None = None,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._client = client
        self._connections = connections

    async def create(self, principal: Principal, new: NewWebhook, once: Once) -> Webhook:
        """Raises Invalid, UrlNotAllowed, TooManyWebhooks."""
        await self._vet(principal.tenant, new.url, new.connection, new.mode)
        held, columns = await self._settled(Held([]), new, url=new.url, plain={})
        secret = _secret(new.secret, new.signing)
        held = msgspec.structs.replace(held, signing=[HeldSecret(secret)])
        values = _values(new) | columns
        tenant = principal.tenant
        while True:
            webhook_id = ids.new("whk")
            try:
                async with self._database.tenant(tenant) as connection:
                    await once.begin(connection)
                    if await store.count(connection, tenant) >= MAX_WEBHOOKS:
                        raise TooManyWebhooks(f"A tenant has at most {MAX_WEBHOOKS} endpoints; delete one first.")
                # Before the row: a worker could meet an endpoint without its secret, but nobody a secret without one.
                await self._write(tenant, webhook_id, held)
                async with self._database.tenant(tenant) as connection:
                    await once.begin(connection)
                    row = await store.insert(connection, tenant, webhook_id, values)
                    await store.bump(connection, tenant)
                    made = msgspec.structs.replace(_shown(row, None), secret=secret, public_key=_public(secret))
                    await once.keep(connection, made, status=201)
            except UniqueViolation:
                await self._secrets.erase(tenant, destinations.path_of(webhook_id))
                continue
            return made

    async def get(self, tenant: str, webhook_id: str) -> Webhook:
        """Raises WebhookNotFound."""
        async with self._database.tenant(tenant) as connection:
            row = await _known(connection, tenant, webhook_id)
            return (await self._with_health(connection, tenant, [row]))[0]

    async def page(self, tenant: str, paging: Paging, *, enabled: bool | None) -> Page[Webhook]:
        async with self._database.tenant(tenant) as connection:
            rows = await store.page(connection, tenant, paging, enabled=enabled)
            shown = await self._with_health(connection, tenant, rows)
            total = await store.count(connection, tenant, enabled=enabled) if paging.offset is not None else None
        return paging.page(shown, lambda webhook: (webhook.created_at, webhook.id), total)

    async def replace(self, tenant: str, webhook_id: str, wanted: ReplacedWebhook) -> Webhook:
        """Raises WebhookNotFound, Invalid, UrlNotAllowed."""
        await self._vet(tenant, wanted.url, wanted.connection, wanted.mode)
        return await self._change(tenant, webhook_id, _values(wanted), wanted)

    async def change(self, tenant: str, webhook_id: str, wanted: ChangedWebhook) -> Webhook:
        """Raises WebhookNotFound, Invalid, UrlNotAllowed."""
        if wanted.url is not msgspec.UNSET:
            await self._vet(tenant, wanted.url, None, "push")
        values = _values(wanted)
        if wanted.enabled is not msgspec.UNSET:
            values |= {"enabled": wanted.enabled, "disabled_reason": None if wanted.enabled else "manual"}
        return await self._change(tenant, webhook_id, values, wanted)

    async def switch(self, tenant: str, webhook_id: str, *, enabled: bool) -> Webhook:
        """Enable or disable. What was published meanwhile is fetched by a recovery. Raises WebhookNotFound."""
        values = {"enabled": enabled, "disabled_reason": None if enabled else "manual"}
        return await self._change(tenant, webhook_id, values, None)

    async def delete(self, tenant: str, webhook_id: str) -> None:
        """Nothing more is sent, also nothing that was waiting; its log stays. Raises WebhookNotFound."""
        async with self._database.tenant(tenant) as connection:
            await _known(connection, tenant, webhook_id)
            await store.delete(connection, tenant, webhook_id)
            await store.bump(connection, tenant)
        await self._secrets.erase(tenant, destinations.path_of(webhook_id))

    async def rotate(self, principal: Principal, webhook_id: str, wanted: Rotation, once: Once) -> Rotated:
        """Raises WebhookNotFound, TooManySecrets, Invalid."""
        tenant = principal.tenant
        now = clock.now()
        until = now + timedelta(seconds=wanted.grace_seconds) if wanted.grace_seconds else None
        secret = _secret(wanted.secret, wanted.signing)
        async with self._database.tenant(tenant) as connection:
            await once.begin(connection)
            await _known(connection, tenant, webhook_id)
        held = await destinations.read_secrets(self._secrets, tenant, webhook_id)
        good = [one for one in held.signing if one.until is None or one.until > now]
        if any(one.secret == secret for one in good):
            raise Invalid.field("#/secret", "reused", "This secret is in use already; give another one.")
        # The grace of a secret that was rotated out before is never made longer.
        kept = [HeldSecret(one.secret, one.until or until) for one in good] if until else []
        if len(kept) >= MAX_SECRETS:
            raise TooManySecrets.field(
                "#",
                "too_many",
                f"{MAX_SECRETS} secrets are good at this moment; wait for one to end, or rotate with grace 0.",
            )
        await self._write(tenant, webhook_id, msgspec.structs.replace(held, signing=[HeldSecret(secret), *kept]))
        answer = Rotated(secret=secret, public_key=_public(secret), previous_valid_until=until)
        async with self._database.tenant(tenant) as connection:
            await once.begin(connection)
            await store.change(connection, tenant, webhook_id, {})
            await once.keep(connection, answer, status=200)
        return answer

    async def _change(
        self,
        tenant: str,
        webhook_id: str,
        values: dict[str, Any],
        wanted: ReplacedWebhook | ChangedWebhook | None,
    ) -> Webhook:
        if wanted is not None and credentials.is_asked(wanted):
            async with self._database.tenant(tenant) as connection:
                known = await _known(connection, tenant, webhook_id)
            held = await destinations.read_secrets(self._secrets, tenant, webhook_id)
            url = values.get("url", known["url"])
            changed, columns = await self._settled(held, wanted, url=url, plain=known["headers"])
            if changed != held:
                await self._write(tenant, webhook_id, changed)
            values |= columns
        async with self._database.tenant(tenant) as connection:
            before = await _known(connection, tenant, webhook_id, lock=True)
            if (
                values.pop("mode", before["mode"]) != before["mode"]
                or (before["url"] is None and values.get("url"))
                or (before["url"] and values.get("connection_id"))
            ):
                raise Invalid.field(
                    "#", "kind", "An endpoint stays what it is, a URL, a connection or polled; make a new one."
                )
            row = await store.change(connection, tenant, webhook_id, values)
            if row is None:
                raise WebhookNotFound("There is no such endpoint.")
            if values.get("enabled"):
                await store.clear_failing(connection, tenant, webhook_id)
            await store.bump(connection, tenant)
            return (await self._with_health(connection, tenant, [row]))[0]

    async def _vet(self, tenant: str, url: str | None, connection: str | None, mode: Mode) -> None:
        if mode == "poll":
            if url is not None or connection is not None:
                raise Invalid.field("#/mode", "exclusive", "A polled endpoint has neither `url` nor `connection`.")
            return
        if (url is None) is (connection is None):
            raise Invalid.field("#/url", "required", "Give either `url` or `connection`.")
        if connection is not None:
            if self._connections is None or not await self._connections.accepts_events(tenant, connection):
                raise Invalid.field(
                    "#/connection", "not_a_destination", "There is no such connection that takes events."
                )
            return
        await self._vet_url(url or "", "#/url")

    async def _vet_url(self, url: str, pointer: str) -> None:
        try:
            await self._client.vet(url)
        except addresses.AddressRefused as error:
            raise UrlNotAllowed.field(
                pointer, "url_not_allowed", "The URL must be http or https and lead to a public address."
            ) from error

    async def _settled(
        self,
        held: Held,
        wanted: NewWebhook | ReplacedWebhook | ChangedWebhook,
        *,
        url: str | None,
        plain: Mapping[str, str],
    ) -> tuple[Held, dict[str, Any]]:
        if isinstance(wanted.auth, OAuth2):
            await self._vet_url(wanted.auth.token_url, "#/auth/token_url")
        return credentials.settled(held, wanted, url=url, plain=plain)

    async def _write(self, tenant: str, webhook_id: str, held: Held) -> None:
        """Check-and-set: of two changes at once one wins, and the other is told so. Raises CasConflict."""
        fields = destinations.held_fields(held)
        await self._secrets.write(tenant, destinations.path_of(webhook_id), fields, cas=held.version)

    async def _with_health(self, connection: Connection, tenant: str, rows: Sequence[Record]) -> list[Webhook]:
        since = clock.now() - timedelta(hours=HEALTH_HOURS)
        stats = await store.stats(connection, tenant, [row["id"] for row in rows], since) if rows else {}
        return [_shown(row, stats.get(row["id"])) for row in rows]


async def _known(connection: Connection, tenant: str, webhook_id: str, *, lock: bool = False) -> Record:
    row = await store.get(connection, tenant, webhook_id, lock=lock) if ids.is_id(webhook_id, "whk") else None
    if row is None:
        raise WebhookNotFound("There is no such endpoint.")
    return row


def _values(wanted: NewWebhook | ReplacedWebhook | ChangedWebhook) -> dict[str, Any]:
    """The columns that a body sets; headers apart."""
    given: dict[str, Any] = {
        "url": wanted.url,
        "events": wanted.events,
        "description": wanted.description,
        "filter": wanted.filter,
        "retry": wanted.retry,
        "rate": wanted.rate,
        "concurrency": wanted.concurrency,
        "ordered": wanted.ordered,
    }
    if not isinstance(wanted, ChangedWebhook):
        given |= {"connection_id": wanted.connection, "mode": wanted.mode}
    values = {name: value for name, value in given.items() if value is not msgspec.UNSET}
    if isinstance(values.get("retry"), str):
        values["retry"] = list(retry.PRESETS[values["retry"]])
    if "filter" in values:
        values["filter"] = msgspec.to_builtins(values["filter"])
    return values


def _secret(given: str | None, kind: Literal["hmac", "ed25519"]) -> str:
    if given is None:
        return signing.new_secret() if kind == "hmac" else signing.new_key()
    try:
        signing.parse(given)
    except signing.SecretInvalid as error:
        raise Invalid.field("#/secret", "format", f"Not a signing secret: {error}.") from error
    return given


def _public(secret: str) -> str | msgspec.UnsetType:
    signer = signing.parse(secret)
    return signer.public() if isinstance(signer, signing.Ed25519Signer) else msgspec.UNSET


def _shown(row: Record, stats: Record | None) -> Webhook:
    return Webhook(
        id=row["id"],
        mode=row["mode"],
        url=row["url"],
        connection=row["connection_id"],
        events=row["events"],
        description=row["description"],
        filter=msgspec.convert(row["filter"], Filter),
        headers={**row["headers"], **dict.fromkeys(row["secret_headers"], MASK)},
        retry=row["retry"],
        rate=row["rate"],
        concurrency=row["concurrency"],
        ordered=row["ordered"],
        auth=msgspec.convert(row["auth"], Auth | None),
        legacy_signature=msgspec.convert(row["legacy_signature"], LegacySignature | None),
        enabled=row["enabled"],
        disabled_reason=row["disabled_reason"],
        health=_health(row["failing_since"], stats),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _health(failing_since: datetime | None, stats: Record | None) -> Health:
    good, bad = (stats["succeeded"], stats["failed"]) if stats else (0, 0)
    total = good + bad
    rate = good / total if total else None
    if failing_since is not None and not good:
        status: Literal["unknown", "healthy", "degraded", "failing"] = "failing"
    elif rate is None:
        status = "unknown"
    else:
        status = "healthy" if rate >= 0.95 else "degraded" if rate >= 0.5 else "failing"
    return Health(
        status=status,
        attempts=total,
        success_rate=rate,
        average_ms=stats["total_ms"] / total if stats and total else None,
        failing_since=failing_since,
    )
