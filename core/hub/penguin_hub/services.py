"""What both processes are made of: the services, made in one place and in the order in which they need each other."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from penguin_hub.audit.service import AuditService
from penguin_hub.connections.service import ConnectionsService
from penguin_hub.contacts.service import ContactsService
from penguin_hub.delivery.bell import Bell
from penguin_hub.delivery.client import Client
from penguin_hub.delivery.connected import ConnectedDestinations
from penguin_hub.delivery.polling import PollingService
from penguin_hub.delivery.router import DeliveryRouter
from penguin_hub.delivery.service import WebhooksService
from penguin_hub.delivery.service_log import DeliveriesService
from penguin_hub.emails.service import EmailsService
from penguin_hub.emails.suppressions.service import SuppressionsService
from penguin_hub.event_types.catalogue import Catalogue
from penguin_hub.event_types.service import EventTypesService
from penguin_hub.events.service import EventsService
from penguin_hub.inbound.service import InboundService
from penguin_hub.keys.hashing import Hasher
from penguin_hub.keys.service import KeysService
from penguin_hub.limits.service import Limiter
from penguin_hub.platform.db import Database, derived_key
from penguin_hub.platform.redis import Redis
from penguin_hub.plugins.service import PluginsService
from penguin_hub.settings import Settings
from penguin_hub.tenants.service import TenantsService
from penguin_hub.tenants.sessions import SessionsService
from penguin_hub.vault import SecretStore, open_store


@dataclass(frozen=True, kw_only=True)
class Services:
    """Open, and closed by whoever opened them."""

    settings: Settings
    database: Database
    redis: Redis
    secrets: SecretStore
    hasher: Hasher
    limiter: Limiter
    audit: AuditService
    tenants: TenantsService
    sessions: SessionsService
    keys: KeysService
    plugins: PluginsService
    events: EventsService
    event_types: EventTypesService
    contacts: ContactsService
    connections: ConnectionsService
    suppressions: SuppressionsService
    emails: EmailsService
    client: Client
    """Reaches tenants' endpoints."""
    destinations: ConnectedDestinations
    webhooks: WebhooksService
    deliveries: DeliveriesService
    polling: PollingService
    inbound: InboundService


@asynccontextmanager
async def opened(settings: Settings, *, app_size: int = 16, system_size: int = 8) -> AsyncIterator[Services]:
    """Every service, with its connections open. `app_size` and `system_size`: the most connections of each pool.

    Raises DatabaseUnavailable, and what opening the secret store raises.
    """
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url, app_size=app_size, system_size=system_size)
        await database.open()
        stack.push_async_callback(database.close)
        redis = Redis(settings.redis_url)
        stack.push_async_callback(redis.close)
        secrets = await open_store(settings, database)
        stack.push_async_callback(secrets.close)

        hasher = Hasher()
        limiter = Limiter(redis, fixed=settings.rate_limit, nodes=settings.nodes)
        audit = AuditService(database)
        tenants = TenantsService(database, hasher, limiter, audit)
        sessions = SessionsService(
            database, hasher, limiter, audit, secure_cookies=settings.public_url.startswith("https://")
        )
        plugins = PluginsService.load()
        catalogue = Catalogue()
        events = EventsService(database, DeliveryRouter(Bell(database)), catalogue)
        contacts = ContactsService(database, events)
        connections = ConnectionsService(database, secrets, plugins, events, audit, settings)
        stack.push_async_callback(connections.close)
        suppressions = SuppressionsService(database)
        client = Client(allow=settings.destination_allow)
        stack.push_async_callback(client.close)
        destinations = ConnectedDestinations(connections)
        polling = PollingService(database, derived_key(settings.database_url, "poll cursors"))
        stack.push_async_callback(polling.close)
        yield Services(
            settings=settings,
            database=database,
            redis=redis,
            secrets=secrets,
            hasher=hasher,
            limiter=limiter,
            audit=audit,
            tenants=tenants,
            sessions=sessions,
            keys=KeysService(database, secrets, hasher, limiter, tenants, audit),
            plugins=plugins,
            events=events,
            event_types=EventTypesService(database),
            contacts=contacts,
            connections=connections,
            suppressions=suppressions,
            emails=EmailsService(database, connections, events, suppressions, contacts),
            client=client,
            destinations=destinations,
            webhooks=WebhooksService(database, secrets, client, destinations),
            deliveries=DeliveriesService(database, events, catalogue),
            polling=polling,
            inbound=InboundService(database, connections, public_url=settings.public_url),
        )
