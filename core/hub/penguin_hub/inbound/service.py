"""Taking a provider's request: who it is for, whether it is the provider's, stored once; the rest is the worker's."""

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

import structlog
from penguin_hub_sdk.errors import PluginError, SignatureInvalid
from penguin_hub_sdk.verifiers import verify
from penguin_hub_sdk.webhooks import Answer, InboundRequest
from prometheus_client import Counter

from penguin_hub.connections.schemas import InboundConnection
from penguin_hub.events.wake import Wake
from penguin_hub.http.paging import Page, Paging
from penguin_hub.inbound import redaction, store
from penguin_hub.inbound.errors import AddressUnknown, BeingProcessed, InboundNotFound, SignatureRefused
from penguin_hub.inbound.schemas import InboundDetail, InboundSummary
from penguin_hub.platform import clock, ids
from penguin_hub.platform.db import Database, Record
from penguin_hub.platform.errors import Unavailable

log = structlog.get_logger(__name__)

CHANNEL: Final = "inbound"

RECEIVED = Counter(
    "penguin_inbound_requests", "Requests of providers, by plugin and what became of them.", ["plugin", "outcome"]
)


class Connections(Protocol):
    """The connections feature."""

    async def for_inbound(self, plugin_id: str, connection_id: str) -> InboundConnection | None: ...


class Fetch(Protocol):
    """Gets a provider's certificate or key set, which some signatures are proven with."""

    async def __call__(self, url: str, /) -> bytes: ...


class InboundService:
    """One for the process."""

    def __init__(
        self,
        database: Database,
        connections: Connections,
        fetch: Fetch | None = None,
        *,
        public_url: str = "http://127.0.0.1:8080",
    ) -> None:
        self._database = database
        self._connections = connections
        self._fetch = fetch or _no_documents
        self._public_url = public_url
        self.wake = Wake(database, CHANNEL)

    async def receive(
        self,
        plugin: str,
        connection_id: str,
        *,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
    ) -> Answer:
        """What the provider is told. Once this returns, the request is stored and nothing loses it.

        `path`: with its query, which some signatures cover together with our public address.

        Raises AddressUnknown, SignatureRefused, and Unavailable when it cannot be judged or stored now: then the
        provider tries again.
        """
        target = await self._connections.for_inbound(plugin, connection_id)
        if target is None or target.plugin.webhook is None:
            raise AddressUnknown("There is nothing at this address.")
        webhook = target.plugin.webhook
        url = self._public_url + path
        request = InboundRequest(method=method, url=url, headers=tuple(headers), body=body, received_at=clock.now())
        try:
            await verify(webhook.verify, request, target.configs, self._fetch)
        except SignatureInvalid as error:
            RECEIVED.labels(plugin, "refused").inc()
            raise SignatureRefused(f"The request is not proven to come from the provider: {error.detail}") from error
        if webhook.answer is not None and (answer := _answered(webhook.answer, request)):
            RECEIVED.labels(plugin, "handshake").inc()
            return answer
        key = _key(webhook.key, request)
        async with self._database.system() as connection:
            new = await store.insert(
                connection,
                target.tenant,
                ids.new("inb"),
                connection_id=target.id,
                plugin=plugin,
                key=key,
                method=method,
                url=redaction.url(url),
                headers=redaction.headers(headers),
                body=body,
                received_at=request.received_at,
            )
            if new:
                self.wake.after(connection)
        RECEIVED.labels(plugin, "accepted" if new else "repeated").inc()
        return Answer()

    async def page(
        self, tenant: str, paging: Paging, *, connection_id: str | None, state: str | None
    ) -> Page[InboundSummary]:
        async with self._database.tenant(tenant) as connection:
            rows, total = await store.page(connection, tenant, paging, connection_id=connection_id, state=state)
        return paging.page([_summary(row) for row in rows], lambda one: (one.received_at, one.id), total)

    async def get(self, tenant: str, request_id: str) -> InboundDetail:
        """Raises InboundNotFound."""
        row = None
        if ids.is_id(request_id, "inb"):
            async with self._database.tenant(tenant) as connection:
                row = await store.get(connection, tenant, request_id)
        if row is None:
            raise InboundNotFound("There is no such request.")
        return _detail(row)

    async def reprocess(self, tenant: str, request_id: str) -> InboundSummary:
        """Have it understood again, by the plugin as it is now. Effects that it had are not had twice.

        Raises InboundNotFound, BeingProcessed.
        """
        if not ids.is_id(request_id, "inb"):
            raise InboundNotFound("There is no such request.")
        async with self._database.tenant(tenant) as connection:
            if await store.get(connection, tenant, request_id) is None:
                raise InboundNotFound("There is no such request.")
            if not await store.reprocess(connection, tenant, request_id):
                raise BeingProcessed("The request is being processed; wait for its outcome.", retry_after=1)
            row = await store.get(connection, tenant, request_id)
            self.wake.after(connection)
        if row is None:
            raise InboundNotFound("There is no such request.")
        return _summary(row)


async def _no_documents(_: str) -> bytes:
    raise Unavailable("This hub cannot fetch the provider's certificate now.", retry_after=60)


def _answered(answer: object, request: InboundRequest) -> Answer | None:
    """A handshake's answer. A plugin that cannot say one has none: the request is kept like any other."""
    try:
        found = answer(request) if callable(answer) else None
    except PluginError as error:
        log.warning("inbound_answer_failed", reason=error.detail)
        return None
    return found if isinstance(found, Answer) else None


def _key(key: object, request: InboundRequest) -> bytes:
    """What is equal in every redelivery of one request, hashed to a length that an index likes."""
    found = None
    try:
        found = key(request) if callable(key) else None
    except PluginError as error:
        log.warning("inbound_key_failed", reason=error.detail)
    raw = b"key:" + found.encode("utf-8", "replace") if isinstance(found, str) and found else b"body:" + request.body
    return hashlib.sha256(raw).digest()


def _summary(row: Record) -> InboundSummary:
    return InboundSummary(
        id=row["id"],
        connection=row["connection_id"],
        plugin=row["plugin"],
        state=row["state"],
        attempts=row["attempts"],
        events=row["events"],
        error=row["error"],
        received_at=row["received_at"],
        processed_at=row["processed_at"],
    )


def _detail(row: Record) -> InboundDetail:
    return InboundDetail(
        id=row["id"],
        connection=row["connection_id"],
        plugin=row["plugin"],
        state=row["state"],
        attempts=row["attempts"],
        events=row["events"],
        error=row["error"],
        received_at=row["received_at"],
        processed_at=row["processed_at"],
        method=row["method"],
        url=row["url"],
        headers=[(name, value) for name, value in row["headers"]],
        body=row["body"].decode("utf-8", "replace"),
    )
