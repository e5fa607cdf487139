"""API processes in miniature: the real gate, routes and services of keys, tenants and audit, asked without a socket."""

import json as jsonlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from litestar import Litestar, Request, Router, get
from litestar.di import NamedDependency, Provide
from penguin_hub.audit import routes as audit_routes
from penguin_hub.audit.service import AuditService
from penguin_hub.http.bodies import StrictBody
from penguin_hub.http.guards import SCOPES, any_key, requires
from penguin_hub.http.paging import Pager
from penguin_hub.http.principal import Authentication, Network, Principal
from penguin_hub.http.problems import HANDLERS
from penguin_hub.keys import routes as keys_routes
from penguin_hub.keys.gate import KeyGate
from penguin_hub.keys.hashing import Hasher
from penguin_hub.keys.schemas import CreatedApiKey, NewApiKey
from penguin_hub.keys.service import KeysService, command_line
from penguin_hub.limits.service import Limiter
from penguin_hub.platform.db import Database
from penguin_hub.platform.redis import Redis, RedisUnavailable
from penguin_hub.settings import Settings
from penguin_hub.tenants import routes as tenants_routes
from penguin_hub.tenants.schemas import NewTenant
from penguin_hub.tenants.service import TenantsService
from penguin_hub.tenants.sessions import SessionsService
from penguin_hub.vault.errors import VaultUnavailable
from penguin_hub.vault.service import Secret, SecretStore

PASSWORD = "correct horse battery"


MakeNode = Callable[..., Awaitable["Node"]]


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> Any:
        return jsonlib.loads(self.body)


class FlakyRedis(Redis):
    """Redis that is away while `away` is set."""

    away = False

    async def _guard(self, make: Any) -> Any:
        if self.away:
            raise RedisUnavailable("Redis is away.", retry_after=1)
        return await super()._guard(make)


class SealableStore:
    """A secret store that can be sealed. Counts what is asked of it."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self.sealed = False
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        if self.sealed:
            raise VaultUnavailable("The secret store is sealed.", retry_after=5)
        return getattr(self._store, name)

    async def read(self, tenant: str, path: str, *, version: int | None = None) -> Secret:
        self.reads += 1
        if self.sealed:
            raise VaultUnavailable("The secret store is sealed.", retry_after=5)
        return await self._store.read(tenant, path, version=version)


@get("/ping", guards=[any_key])
async def ping(principal: NamedDependency[Principal]) -> dict[str, str]:
    return {"actor": principal.actor, "tenant": principal.tenant}


def _needs(scope: str) -> Any:
    @get(f"/needs/{scope}", guards=[requires(scope)])
    async def handler() -> dict[str, str]:
        return {"scope": scope}

    return handler


@dataclass
class Node:
    """One API process. `open` it, `close` it."""

    settings: Settings
    database: Database
    redis: Redis
    secrets: SecretStore
    trusted: Sequence[Network] = ()
    fixed: int | None = None
    nodes: int = 1
    rounds: int = 4
    now: Callable[[], float] = time.monotonic
    app: Any = field(init=False)

    def __post_init__(self) -> None:
        self.hasher = Hasher(rounds=self.rounds)
        self.limiter = Limiter(self.redis, fixed=self.fixed, nodes=self.nodes, clock=self.now)
        self.audit = AuditService(self.database)
        self.tenants = TenantsService(self.database, self.hasher, self.limiter, self.audit)
        self.sessions = SessionsService(self.database, self.hasher, self.limiter, self.audit)
        self.keys = KeysService(self.database, self.secrets, self.hasher, self.limiter, self.tenants, self.audit)
        self.gate = KeyGate(
            self.database, self.redis, self.secrets, self.limiter, self.hasher, self.sessions, now=self.now
        )
        provided = {
            "principal": Provide(_principal, sync_to_thread=False),
            **{
                name: Provide(_always(service), sync_to_thread=False)
                for name, service in {
                    "keys": self.keys,
                    "sessions": self.sessions,
                    "audit": self.audit,
                    "pager": Pager(b"seal"),
                }.items()
            },
        }
        routes = [ping, *map(_needs, SCOPES), *keys_routes.routes, *tenants_routes.routes, *audit_routes.routes]
        inner = Litestar(
            [Router("/api/v1", route_handlers=routes, dependencies=provided)],
            dto=StrictBody,
            return_dto=None,
            exception_handlers=HANDLERS,
            openapi_config=None,
        )
        self.app = Authentication(inner, self.gate, trusted=self.trusted)

    async def open(self) -> "Node":
        await self.gate.open()
        return self

    async def close(self) -> None:
        await self.gate.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        json: Any = None,
        headers: Sequence[tuple[str, str]] = (),
        client: str = "127.0.0.1",
    ) -> Answer:
        """One request. `path` is below /api/v1."""
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        if key is not None:
            raw.append((b"authorization", b"Bearer " + key.encode()))
        body = b"" if json is None else jsonlib.dumps(json).encode()
        if json is not None:
            raw += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        return await asgi(self.app, method, "/api/v1" + path, raw, body, client)

    async def tenant(self, plan: str = "enterprise", email: str = "owner@example.com") -> NewTenant:
        return await self.tenants.create_tenant("Test", plan, owner_email=email, owner_password=PASSWORD)

    async def key(self, made: NewTenant, **values: Any) -> CreatedApiKey:
        """A key that the operator makes; with all scopes unless said otherwise."""
        new = NewApiKey(**{"name": "Test", "scopes": list(SCOPES), **values})
        return await self.keys.create(command_line(made.tenant), new)

    async def token(self, email: str = "owner@example.com", password: str = PASSWORD) -> str:
        """Signs in."""
        answer = await self.ask("POST", "/platform/sessions", json={"email": email, "password": password})
        assert answer.status == 201, answer.body
        return str(answer.json["token"])


def _principal(request: Request[Principal, Any, Any]) -> Principal:
    return request.user


@asynccontextmanager
async def nodes(settings: Settings, secrets: SecretStore) -> AsyncIterator[MakeNode]:
    """Makes processes on one database: each with pools, caches and Redis connections of its own."""
    async with AsyncExitStack() as opened:

        async def make(**options: Any) -> Node:
            database = Database(settings.database_url, app_size=4, system_size=4)
            await database.open()
            opened.push_async_callback(database.close)
            options = {"settings": settings, "secrets": secrets, "redis": FlakyRedis(settings.redis_url), **options}
            node = await Node(database=database, **options).open()
            opened.push_async_callback(node.redis.close)
            opened.push_async_callback(node.close)
            return node

        yield make


def _always(service: Any) -> Callable[[], Any]:
    def provide() -> Any:
        return service

    return provide


async def asgi(
    app: Any, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes = b"", client: str = "127.0.0.1"
) -> Answer:
    """One request to an ASGI application."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"hub.test"), *headers],
        "client": (client, 40000),
        "server": ("hub.test", 80),
        "state": {},
        "extensions": {},
    }
    sent: list[Any] = []
    given = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        return next(given, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    return Answer(
        start["status"],
        [(name.decode().lower(), value.decode("latin-1")) for name, value in start["headers"]],
        b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body"),
    )
