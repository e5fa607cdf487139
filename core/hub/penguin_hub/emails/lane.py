"""One connection's mail in one worker: a lane of its own, so that a slow provider holds up nobody else."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

import structlog
from penguin_hub_sdk.connectors import BatchEmailProvider, Connector
from penguin_hub_sdk.errors import ConfigInvalid, PluginError, ProviderFailed
from prometheus_client import Counter

from penguin_hub.connections.service import ConnectionsService
from penguin_hub.emails import sending, store_queue
from penguin_hub.emails.outcome import Attempt
from penguin_hub.emails.recorder import Recorder
from penguin_hub.emails.sending import Item
from penguin_hub.emails.store_queue import Claim
from penguin_hub.emails.suppressions.service import SuppressionsService
from penguin_hub.platform import clock
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import Conflict, NotFound, Unavailable

log = structlog.get_logger(__name__)

ATTEMPTS: Final = Counter("penguin_email_attempts", "Attempts to hand a message to a provider.", ["plugin", "outcome"])

LEASE_SECONDS: Final = 30.0
"""How long after a worker's death its messages are taken over. A living worker renews its leases."""
CLAIM_MAX: Final = 100
LOAD_BYTES: Final = 1024 * 1024
"""Stored bytes of messages that are read at once."""
GATHER_SECONDS: Final = 0.02
STOP_SECONDS: Final = 25.0
"""How long what was begun may take once the worker is asked to stop. What is cut off is sent again by another."""
_SETTLE_PAUSES: Final = (0.1, 0.2, 0.5, 1, 2, 2, 2, 5, 5, 5)
"""Seconds between tries to write down what was sent: losing that means sending it again."""


class Budget(Protocol):
    """How many bytes of messages the process may hold at once, over all its lanes."""

    async def take(self, size: int) -> None: ...

    def give(self, size: int) -> None: ...


class Lane:
    """Claims, sends and settles one connection's due messages until there are none."""

    def __init__(
        self,
        connection: str,
        tenant: str,
        *,
        database: Database,
        connections: ConnectionsService,
        suppressions: SuppressionsService,
        recorder: Recorder,
        budget: Budget,
        lease: str,
    ) -> None:
        self.more = asyncio.Event()
        """Set by the worker when there may be new work."""
        self.claims: dict[str, Claim] = {}
        """What is in hand, for the renewal of leases."""
        self.leave = asyncio.Event()
        """Set by the worker when other connections have waited for a lane long enough."""
        self._connection = connection
        self._tenant = tenant
        self._database = database
        self._connections = connections
        self._suppressions = suppressions
        self._recorder = recorder
        self._budget = budget
        self._lease = lease
        self._tasks: set[asyncio.Task[None]] = set()
        self._outcomes: list[Attempt] = []
        self._settling = asyncio.Lock()
        self._plugin: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Ends when nothing is left to do; or, once `stop` or `leave` is set, when what was begun is done.

        Raises what makes going on pointless for now (an outage of our own); the leases then lapse.
        """
        try:
            while not stop.is_set() and not self.leave.is_set():
                self.more.clear()
                # Opened anew each time (it is kept for a second): settings change while a lane is busy.
                connector, slots, batch = await self._open()
                wanted = min((slots - len(self._tasks)) * batch, CLAIM_MAX)
                claims = await self._claim(wanted) if wanted else []
                items = await self._read(claims)
                for start in range(0, len(items), batch):
                    self._start(self._carry(connector, items[start : start + batch]))
                if not claims and not self._tasks:
                    return
                await self._breathe(slots, full=len(claims) == wanted)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _open(self) -> tuple[Connector | PluginError, int, int]:
        """The connector (or the error that every message meets instead), calls at once, messages in a call."""
        try:
            opened = await self._connections.connector(self._tenant, self._connection)
        except NotFound:
            return ConfigInvalid("The connection does not exist any more.", code="connection_gone"), 1, CLAIM_MAX
        except Conflict as error:
            return ProviderFailed(error.detail, code=error.code), 1, CLAIM_MAX
        except PluginError as error:
            return error, 1, CLAIM_MAX
        manifest = opened.plugin.manifest
        self._plugin = manifest.id
        batch = manifest.batch if isinstance(opened.connector, BatchEmailProvider) else 1
        return opened.connector, manifest.limits.concurrency, batch

    async def _claim(self, limit: int) -> list[Claim]:
        now = clock.now()
        until = now + timedelta(seconds=LEASE_SECONDS)
        async with self._database.system() as connection:
            claims = await store_queue.claim(
                connection, self._connection, self._lease, limit=limit, now=now, until=until
            )
        self.claims.update((claim.email_id, claim) for claim in claims)
        return claims

    async def _read(self, claims: Sequence[Claim]) -> list[Item]:
        """The claimed messages, as their tenant sees them."""
        items: list[Item] = []
        for group in sending.groups(claims, LOAD_BYTES):
            size = sum(claim.size for claim in group)
            await self._budget.take(size)
            try:
                async with self._database.tenant(self._tenant) as connection:
                    loaded = await store_queue.load(connection, self._tenant, [claim.email_id for claim in group])
                    keys = sorted({person.key for message in loaded for person in message.pending})
                    standing = await self._suppressions.against(connection, self._tenant, keys)
            except BaseException:
                self._budget.give(size)
                raise
            by_id = {message.id: message for message in loaded}
            items += [sending.item(claim, by_id.get(claim.email_id), standing) for claim in group]
        return items

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _breathe(self, slots: int, *, full: bool) -> None:
        """Wait until claiming again is worth a query."""
        if full:
            # There is more than there were slots for; let a few get free, so that one claim takes several.
            if len(self._tasks) >= slots:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                if len(self._tasks) > slots // 2:
                    await asyncio.wait(self._tasks, timeout=GATHER_SECONDS)
            return
        heard = asyncio.ensure_future(self.more.wait())
        try:
            while self._tasks and not heard.done():
                await asyncio.wait({*self._tasks, heard}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            heard.cancel()

    async def _carry(self, connector: Connector | PluginError, parcel: list[Item]) -> None:
        """Send one parcel and write down what came of it."""
        try:
            results = await sending.send(connector, parcel)
            self._outcomes += [item.attempt(result) for item, result in zip(parcel, results, strict=True)]
            await self._settle()
        except Exception as error:
            # The leases lapse, and the messages are sent once more.
            log.exception("parcel_failed", connection=self._connection, exc_info=error)
        finally:
            for item in parcel:
                self.claims.pop(item.claim.email_id, None)
                self._budget.give(item.claim.size)

    async def _settle(self) -> None:
        """Write all outcomes there are in one transaction: whoever comes while it runs is in the next."""
        async with self._settling:
            outcomes, self._outcomes = self._outcomes, []
            if not outcomes:
                return
            try:
                await self._write(outcomes)
            except Unavailable:
                raise
            except Exception as error:
                # One of them cannot be written: it must not take the others with it.
                log.exception("settling_alone", connection=self._connection, exc_info=error)
                for outcome in outcomes:
                    await self._write_alone(outcome)
        for outcome in outcomes:
            kind = outcome.error.effect.kind if outcome.error is not None else "taken" if outcome.receipt else "nobody"
            ATTEMPTS.labels(self._plugin or "none", kind).inc()
        await self._report(outcomes)

    async def _write_alone(self, outcome: Attempt) -> None:
        try:
            await self._write([outcome])
        except Unavailable:
            raise
        except Exception as error:
            log.exception("not_settled", connection=self._connection, email=outcome.claim.email_id, exc_info=error)

    async def _write(self, outcomes: Sequence[Attempt]) -> None:
        for pause in (*_SETTLE_PAUSES, None):
            try:
                async with self._database.tenant(self._tenant) as connection:
                    await self._recorder.settle(connection, self._tenant, self._connection, self._plugin, outcomes)
            except Unavailable:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return

    async def _report(self, outcomes: Sequence[Attempt]) -> None:
        """Tell the connection how it does. Costs nothing while all is well."""
        if any(outcome.receipt is not None for outcome in outcomes):
            await self._connections.report(self._tenant, self._connection, None)
        for error in {type(outcome.error): outcome.error for outcome in outcomes if outcome.error is not None}.values():
            await self._connections.report(self._tenant, self._connection, error)
