"""Connections on real servers, with throw-away plugins whose provider is inside them."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from penguin_hub.audit.service import AuditService
from penguin_hub.connections.service import ConnectionsService
from penguin_hub.events.service import EventsService, Routed
from penguin_hub.http.principal import Principal
from penguin_hub.platform.db import Connection, Database
from penguin_hub.plugins.service import PluginsService
from penguin_hub.settings import Settings
from penguin_hub.vault import SecretStore, open_store
from support.distributions import CONNECTOR, HEADER, HOOK, Site, site
from support.tenants import make_principal

MAILER = (
    HEADER
    + "from penguin_hub_sdk.connectors import Event\n"
    + CONNECTOR.replace(
        '    region: str = "eu"\n',
        '    region: Annotated[str, msgspec.Meta(pattern="^(eu|us)$")] = "eu"\n    signing_key: Secret | None = None\n',
    ).replace(
        "    async def check(self):\n",
        "    async def check(self):\n"
        "        count = int(await self.ctx.state.get('checks') or 0)\n"
        "        await self.ctx.state.set('checks', str(count + 1))\n"
        "        self.ctx.log.info('checking', key=self.ctx.config.api_key.reveal())\n"
        "        if self.ctx.config.api_key.reveal() == 'quota':\n"
        "            raise errors.QuotaExceeded('Used up.')\n"
        "        if self.ctx.config.api_key.reveal() == 'crash':\n"
        "            raise ValueError('the key is ' + self.ctx.config.api_key.reveal())\n"
        "        if self.ctx.config.api_key.reveal() == 'down':\n"
        "            raise errors.NetworkFailed('No route.')\n",
    )
    + """
class Verify:
    def verify(self, request, configs):
        if not any(c.signing_key and c.signing_key.reveal().encode() == request.body for c in configs):
            raise errors.SignatureInvalid("no")


def normalise(request):
    return ()


webhook = Webhook(verify=Verify(), normalise=normalise)
"""
    + HOOK.replace("connect=Connector", "connect=Connector, webhook=webhook")
)

SIMULATOR = (
    HEADER
    + """
class Settings(Config, frozen=True):
    pass


class Connector:
    def __init__(self, ctx):
        pass

    async def check(self):
        pass

    async def send(self, message):
        return Receipt("simulated")
"""
    + HOOK
)

CHAT = (
    HEADER
    + """
class Settings(Config, frozen=True):
    token: Secret


class Connector:
    def __init__(self, ctx):
        self.ctx = ctx

    async def check(self):
        pass

    async def deliver(self, event):
        if self.ctx.config.token.reveal() == "revoked":
            raise errors.AuthExpired("The token is revoked.")
"""
    + HOOK
)


class Nobody:
    """No endpoint wants anything."""

    async def route(
        self, connection: Connection, tenant: str, events: Sequence[Routed]
    ) -> Sequence[tuple[str, str, str, str]]:
        return ()


@pytest.fixture
def plugins_folder(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "site") as made:
        made.add("mailer", MAILER, readme="# Mailer\n\nSends mail.")
        made.add("toy", SIMULATOR, manifest="sandbox = true\n")
        made.add("chat", CHAT, manifest=made.manifest("chat", category="communication"))
        made.add("future", manifest='requires_hub = ">=3000"\n')
        made.add("broken", "raise ValueError")
        yield made


@pytest.fixture
def plugins(plugins_folder: Site) -> PluginsService:
    return PluginsService.load([str(plugins_folder.folder)])


@pytest.fixture
async def secrets(settings: Settings, database: Database) -> AsyncIterator[SecretStore]:
    store = await open_store(settings, database)
    yield store
    await store.close()


@pytest.fixture
def make(database: Database, secrets: SecretStore, plugins: PluginsService, settings: Settings) -> "Maker":
    return Maker(database, secrets, plugins, settings)


class Maker:
    """Makes the service as a process does; a second one stands for another process."""

    def __init__(self, database: Database, secrets: SecretStore, plugins: PluginsService, settings: Settings) -> None:
        self.database, self.secrets, self.plugins, self.settings = database, secrets, plugins, settings

    def __call__(self, secrets: SecretStore | None = None) -> ConnectionsService:
        return ConnectionsService(
            self.database,
            secrets or self.secrets,
            self.plugins,
            EventsService(self.database, Nobody()),
            AuditService(self.database),
            self.settings,
        )


@pytest.fixture
async def connections(make: Maker) -> AsyncIterator[ConnectionsService]:
    service = make()
    yield service
    await service.close()


@pytest.fixture
async def principal(database: Database) -> Principal:
    return await make_principal(database)
