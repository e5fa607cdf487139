"""The tenant that the first start makes, so that there is something to try."""

import asyncio
import secrets

from penguin_hub.http.guards import SCOPES
from penguin_hub.keys.schemas import CreatedApiKey, NewApiKey
from penguin_hub.keys.service import command_line
from penguin_hub.platform.embedded import Sample
from penguin_hub.platform.errors import NotFound
from penguin_hub.runtime.services import opened
from penguin_hub.settings import Settings

EMAIL = "owner@example.com"
PLAN = "enterprise"


async def exists(settings: Settings, sample: Sample) -> bool:
    """Whether this database knows the tenant: it may be another one than at the last start."""
    async with opened(settings) as services:
        try:
            await services.tenants.get(sample.tenant)
        except NotFound:
            return False
    return True


async def create(settings: Settings) -> Sample:
    """A tenant with an owner, a live key that may do everything, and a test key."""
    password = secrets.token_urlsafe(15)
    async with opened(settings) as services:
        made = await services.tenants.create_tenant("Sample", PLAN, owner_email=EMAIL, owner_password=password)
        principal = command_line(made.tenant)

        async def key(name: str, environment: str, *, admin: bool) -> CreatedApiKey:
            new = NewApiKey(name=name, scopes=sorted(SCOPES), environment=environment, admin=admin)  # type: ignore[arg-type]
            return await services.keys.create(principal, new)

        live, test = await asyncio.gather(key("Sample", "live", admin=True), key("Sample (test)", "test", admin=False))
    return Sample(
        tenant=made.tenant.id,
        workspace=made.tenant.workspace,
        live_key=live.key,
        test_key=test.key,
        email=EMAIL,
        password=password,
    )
