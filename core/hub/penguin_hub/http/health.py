"""`/healthz`, `/readyz`, `/metrics`: for supervisors and monitors. No key, no tenant's data."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess

from penguin_hub.platform.errors import HubError

CHECK_SECONDS = 2.0


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing the hub stands on."""

    ok: bool
    detail: str | None = None


class Readiness(msgspec.Struct, frozen=True):
    ready: bool
    parts: dict[str, Part]


class HealthService:
    """Asks the parts at once. A part that is not `vital` may be away while the hub still serves."""

    def __init__(
        self, checks: dict[str, tuple[Callable[[], Awaitable[str | None]], Literal["vital", "useful"]]]
    ) -> None:
        self._checks = checks

    async def readiness(self) -> Readiness:
        results = await asyncio.gather(*(self._ask(check) for check, _ in self._checks.values()))
        parts = dict(zip(self._checks, results, strict=True))
        ready = all(parts[name].ok for name, (_, weight) in self._checks.items() if weight == "vital")
        return Readiness(ready, parts)

    async def _ask(self, check: Callable[[], Awaitable[str | None]]) -> Part:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return Part(ok=True, detail=await check())
        except HubError as error:
            return Part(ok=False, detail=error.detail)
        except TimeoutError:
            return Part(ok=False, detail=f"no answer within {CHECK_SECONDS:g} s")


@get("/healthz", exclude_from_auth=True, include_in_schema=False)
async def healthz() -> dict[str, str]:
    """This process is alive."""
    return {"status": "ok"}


@get("/readyz", exclude_from_auth=True, include_in_schema=False)
async def readyz(health: NamedDependency[HealthService]) -> Response[Readiness]:
    """What requests need is there: database, secrets (Redis may be away). 503 with the part that is not."""
    found = await health.readiness()
    return Response(found, status_code=200 if found.ready else 503, headers={"cache-control": "no-store"})


@get("/metrics", exclude_from_auth=True, include_in_schema=False)
async def metrics() -> Response[bytes]:
    """Prometheus text format: of every process that shares PROMETHEUS_MULTIPROC_DIR, or of this one."""
    registry = CollectorRegistry()
    try:
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # not typed there
    except ValueError:
        # The variable is not set.
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


routes = [healthz, readyz, metrics]
