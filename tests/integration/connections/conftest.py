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
from support import samples
from support.distributions import Site, site
from support.tenants import make_principal


class Nobody:
    """No endpoint wants anything."""

    async def route(
        self, connection: Connection, tenant: str, events: Sequence[Routed]
    ) -> Sequence[tuple[str, str, str, str]]:
        return ()


@pytest.fixture
def plugins_folder(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "site") as made:
        samples.install(made)
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
