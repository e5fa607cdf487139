"""The endpoints as a worker sends to them: configuration, prepared secrets, and the behaviour it has seen."""

import asyncio
import time
from collections import deque
from datetime import datetime
from typing import Final

import msgspec
import structlog
from penguin_hub_sdk import signing
from penguin_hub_sdk.addresses import AddressRefused

from penguin_hub.delivery import slots
from penguin_hub.delivery.authentication import Auth, Basic, MutualTls, OAuth2, basic_header
from penguin_hub.delivery.client import Client, Target
from penguin_hub.delivery.identity import IdentityInvalid
from penguin_hub.delivery.legacy import LegacySignature, LegacySigner
from penguin_hub.delivery.tokens import Tokens
from penguin_hub.platform import clock
from penguin_hub.platform.db import Record
from penguin_hub.platform.errors import HubError, NotFound
from penguin_hub.vault.service import SecretStore

log = structlog.get_logger(__name__)

USER_AGENT: Final = "PenguinMails-Webhooks/1.0"
RETRY_SECONDS: Final = 5.0
"""After the secret store could not answer."""


class Job:
    """One claimed delivery."""

    __slots__ = (
        "attempt", "body", "endpoint", "event", "expires", "id", "lane", "message_id", "received", "series", "tenant",
        "token", "type",
    )  # fmt: skip

    def __init__(self, row: Record, token: int, expires: float) -> None:
        self.tenant: str = row["tenant_id"]
        self.id: str = row["id"]
        self.endpoint: str = row["endpoint_id"]
        self.event: str = row["event_id"]
        self.type: str = row["type"]
        self.lane: int = row["lane"]
        self.attempt: int = row["attempt"]
        self.series: int = row["series"]
        self.token = token
        self.expires = expires
        """By the monotonic clock: not sent any more after this, because the lease would end under it."""
        self.received = time.monotonic()
        self.message_id = ""
        self.body: bytes | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an endpoint's configuration."""

    version: int
    active: bool
    """Neither disabled nor deleted."""
    target: Target | None
    """None for a connection, and for a URL that is not (or no longer) acceptable."""
    connection: str | None
    headers: dict[str, str]
    secret_headers: frozenset[str]
    """Their names in lower case: the log shows them without a value."""
    signers: tuple[tuple[datetime | None, signing.Signer], ...]
    delays: tuple[float, ...]
    rate: float | None
    tokens: Tokens | None = None
    legacy: LegacySigner | None = None


class Destination:
    """One endpoint in a worker's memory."""

    __slots__ = (
        "buffer",
        "failing",
        "failure_noted",
        "id",
        "loading",
        "paced",
        "settings",
        "state",
        "tenant",
        "version",
    )

    def __init__(self, tenant: str, endpoint: str) -> None:
        self.tenant = tenant
        self.id = endpoint
        self.settings: Settings | None = None
        self.version = 0
        """The newest version that a claim has seen."""
        self.state = slots.Endpoint(tenant, 1)
        self.buffer: deque[Job] = deque()
        self.paced = 0
        """Claimed deliveries that wait for their turn by the endpoint's rate."""
        self.loading: asyncio.Task[None] | None = None
        self.failing = False
        """Whether the database says that it has been failing."""
        self.failure_noted = float("-inf")

    @property
    def is_ready(self) -> bool:
        return self.settings is not None and self.settings.version >= self.version

    def signers(self) -> list[signing.Signer]:
        """Those that are good now; an old secret falls out by itself at the end of its grace."""
        if self.settings is None:
            return []
        return [signer for until, signer in self.settings.signers if until is None or until > clock.now()]


class HeldSecret(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of an endpoint's signing secrets; it stands in no repr."""

    secret: str
    until: datetime | None = None
    """The end of its grace; None for the current one."""

    def __repr__(self) -> str:
        return f"HeldSecret(until={self.until})"


class Held(msgspec.Struct, frozen=True):
    """What the secret store holds of an endpoint, field by field (each a JSON document)."""

    signing: list[HeldSecret]
    headers: dict[str, str] = {}
    auth: Auth | None = None
    legacy: LegacySignature | None = None
    version: int = 0
    """Of the secret in the store; a change names it, so that of two at once one is told."""

    def __repr__(self) -> str:
        return f"Held(version={self.version})"


async def read_secrets(secrets: SecretStore, tenant: str, endpoint: str) -> Held:
    """Raises what the store raises; a missing secret is an empty one, and then nothing can be signed."""
    try:
        found = await secrets.read(tenant, path_of(endpoint))
    except NotFound:
        return Held([])
    fields = found.fields
    return Held(
        msgspec.json.decode(fields.get("signing", "[]"), type=list[HeldSecret]),
        msgspec.json.decode(fields.get("headers", "{}"), type=dict[str, str]),
        msgspec.json.decode(fields.get("auth", "null"), type=Auth | None),
        msgspec.json.decode(fields.get("legacy", "null"), type=LegacySignature | None),
        found.version,
    )


def held_fields(held: Held) -> dict[str, str]:
    return {
        name: msgspec.json.encode(getattr(held, name)).decode() for name in ("signing", "headers", "auth", "legacy")
    }


def path_of(endpoint: str) -> str:
    return f"webhooks/{endpoint}"


async def settings_of(row: Record, secrets: SecretStore, client: Client) -> Settings:
    """An endpoint's row with its secrets. Raises HubError when the secret store does not answer."""
    active = row["enabled"] and row["deleted_at"] is None
    held = Held([])
    if active and row["connection_id"] is None:
        held = await read_secrets(secrets, row["tenant_id"], row["id"])
    target = None
    if row["url"] is not None:
        try:
            target = client.target(row["url"])
        except AddressRefused:
            log.info("endpoint_address_refused", tenant=row["tenant_id"], endpoint=row["id"])
    headers = {"content-type": "application/json", "user-agent": USER_AGENT, **row["headers"], **held.headers}
    if isinstance(held.auth, Basic):
        headers["authorization"] = basic_header(held.auth)
    if isinstance(held.auth, MutualTls) and target is not None:
        try:
            target = await client.presenting(target, held.auth.certificate, held.auth.private_key)
        except IdentityInvalid:
            log.warning("endpoint_certificate_refused", tenant=row["tenant_id"], endpoint=row["id"])
            target = None
    return Settings(
        version=row["version"],
        active=active,
        target=target,
        connection=row["connection_id"],
        headers=headers,
        secret_headers=frozenset(name.lower() for name in held.headers) | {"authorization", "cookie"},
        signers=tuple((one.until, signing.parse(one.secret)) for one in held.signing),
        delays=tuple(row["retry"]),
        rate=row["rate"],
        tokens=Tokens(client, held.auth) if isinstance(held.auth, OAuth2) else None,
        legacy=LegacySigner(held.legacy) if held.legacy else None,
    )


async def load(destination: Destination, row: Record, secrets: SecretStore, client: Client) -> bool:
    """Bring a destination to the row's version; False when the secret store does not answer now."""
    try:
        settings = await settings_of(row, secrets, client)
    except HubError as error:
        log.warning("endpoint_secrets_unavailable", endpoint=destination.id, reason=error.detail)
        return False
    destination.settings = settings
    destination.state.concurrency = row["concurrency"]
    destination.state.window = max(1, min(max(destination.state.window, slots.FIRST_WINDOW), row["concurrency"]))
    return True
