"""The API process: wires it, and nothing else does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Router
from litestar.di import NamedDependency, Provide

from penguin_hub import services
from penguin_hub.audit.routes import routes as audit_routes
from penguin_hub.connections.routes import routes as connections_routes
from penguin_hub.contacts.routes import routes as contacts_routes
from penguin_hub.delivery.routes import routes as delivery_routes
from penguin_hub.delivery.routes_polling import routes as polling_routes
from penguin_hub.emails.routes import routes as emails_routes
from penguin_hub.emails.suppressions.routes import routes as suppressions_routes
from penguin_hub.event_types.routes import routes as event_types_routes
from penguin_hub.events.routes import routes as events_routes
from penguin_hub.http import bodies, catalogue, docs, health, idempotency, openapi, problems
from penguin_hub.http.guards import principal_of
from penguin_hub.http.paging import Pager
from penguin_hub.http.principal import Address, Admission, Authentication, Principal
from penguin_hub.http.requests import RequestContext
from penguin_hub.inbound.routes import provider_routes
from penguin_hub.inbound.routes import routes as inbound_routes
from penguin_hub.keys.gate import KeyGate
from penguin_hub.keys.routes import routes as keys_routes
from penguin_hub.platform.db import derived_key
from penguin_hub.platform.errors import Unavailable
from penguin_hub.plugins.apps import load_apps
from penguin_hub.plugins.routes import routes as plugins_routes
from penguin_hub.services import Services
from penguin_hub.settings import Settings
from penguin_hub.tenants.routes import routes as tenants_routes

VERSIONED = (
    *audit_routes,
    *connections_routes,
    *contacts_routes,
    *delivery_routes,
    *polling_routes,
    *emails_routes,
    *event_types_routes,
    *events_routes,
    *inbound_routes,
    *suppressions_routes,
    *keys_routes,
    *plugins_routes,
    *tenants_routes,
)
"""What lives under /api/v1 and is asked for a credential."""

# Dependency -> attribute of Services. A handler asks for a service by this name.
INJECTED = (
    "audit",
    "connections",
    "contacts",
    "deliveries",
    "emails",
    "event_types",
    "events",
    "inbound",
    "keys",
    "plugins",
    "polling",
    "sessions",
    "suppressions",
    "tenants",
    "webhooks",
)


LATE_SECONDS = 60
"""After so long a due delivery or message is late, and readiness says so."""


class Api:
    """The application's own parts. They exist from the start of its life to the end, and not before."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._services: Services | None = None
        self._gate: KeyGate | None = None

    @property
    def services(self) -> Services:
        if self._services is None:
            raise RuntimeError("the application has not been started")
        return self._services

    @property
    def gate(self) -> KeyGate:
        if self._gate is None:
            raise RuntimeError("the application has not been started")
        return self._gate

    async def admit(self, credential: str, client: Address | None) -> Admission:
        return await self.gate.admit(credential, client)

    def count(self, principal: Principal, status: int) -> None:
        self.gate.count(principal, status)

    @asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        async with services.opened(self.settings) as opened:
            gate = KeyGate(
                opened.database, opened.redis, opened.secrets, opened.limiter, opened.hasher, opened.sessions
            )
            await gate.open()
            self._services, self._gate = opened, gate
            try:
                yield
            finally:
                await gate.close()

    def end_waits(self) -> None:
        """The process is about to stop: long polls are answered now."""
        if self._services is not None:
            self._services.polling.ear.end()

    def health(self) -> health.HealthService:
        """What readiness asks for."""
        at = self.services

        async def redis() -> None:
            await at.redis.call("PING")

        async def queues() -> str:
            age = max(await at.emails.overdue(), await at.deliveries.overdue())
            if age > LATE_SECONDS:
                raise Unavailable(f"The oldest due work has waited {age:.0f} s: is a worker running?")
            return f"{age:.1f} s"

        return health.HealthService(
            {
                "database": (at.database.check, "vital"),
                "secrets": (at.secrets.check, "vital"),
                "redis": (redis, "useful"),
                "queues": (queues, "useful"),
            }
        )


def create_app(settings: Settings) -> Litestar:
    """The API. Opens nothing before its lifespan begins."""
    api = Api(settings)
    pager = Pager(derived_key(settings.database_url, "cursors"))
    kept = idempotency.Idempotency(derived_key(settings.database_url, "kept answers"))

    async def once(
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        idempotency_key: idempotency.KeyHeader = None,
    ) -> idempotency.Once:
        return await kept.once(request, principal, idempotency_key)

    def service(name: str) -> Provide:
        def provide() -> Any:
            return getattr(api.services, name)

        return Provide(provide, sync_to_thread=False)

    versioned = Router(
        "/api/v1",
        route_handlers=[*VERSIONED, *(route for app in load_apps() for route in app.routes)],
        dependencies={
            "principal": Provide(_principal, sync_to_thread=False),
            "pager": Provide(lambda: pager, sync_to_thread=False),
            "once": Provide(once),
        },
    )
    app = Litestar(
        [versioned, *provider_routes, *docs.routes, *catalogue.routes, *health.routes],
        dependencies={
            "health": Provide(api.health, sync_to_thread=False),
            **{name: service(name) for name in INJECTED},
        },
        dto=bodies.StrictBody,
        return_dto=None,
        exception_handlers={**problems.HANDLERS, **idempotency.HANDLERS},
        lifespan=[api.lifespan],
        openapi_config=openapi.config(),
        # The process has set logging up (platform/logging); Litestar's own would go around its redaction.
        logging_config=None,
        request_max_body_size=bodies.MAX_BODY,
    )
    app.state.end_waits = api.end_waits
    # Around all of Litestar and not as its middleware, which a request for no known route never passes.
    app.asgi_handler = RequestContext(Authentication(app.asgi_handler, api, trusted=settings.trusted_proxies))
    return app


def _principal(request: Request[Any, Any, Any]) -> Principal:
    return principal_of(request)
