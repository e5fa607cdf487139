"""The rules of suppression: a hard bounce or a complaint stops all mail, an unsubscription stops marketing."""

from collections.abc import Iterable, Mapping, Sequence

from penguin_hub.emails.errors import SuppressionExists, SuppressionNotFound
from penguin_hub.emails.suppressions import store
from penguin_hub.emails.suppressions.schemas import Found, NewSuppression, Suppression
from penguin_hub.http.idempotency import NEVER_ASKED, Once
from penguin_hub.http.paging import Page, Paging
from penguin_hub.http.principal import Principal
from penguin_hub.platform import addresses, ids
from penguin_hub.platform.db import Connection, Database


class SuppressionsService:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, principal: Principal, new: NewSuppression, once: Once = NEVER_ASKED) -> Suppression:
        """Raises SuppressionExists, Invalid, and what `once` raises for a repeated request."""
        email, key = addresses.email(new.email, "#/email")
        test = _test(principal)
        found = Found(email, key, test, new.reason, new.stream)
        async with self._database.tenant(principal.tenant) as connection:
            await once.begin(connection)
            added = await store.add(connection, principal.tenant, [found], principal.actor)
            if not added:
                other = await store.id_of(connection, principal.tenant, test, key, new.stream)
                raise SuppressionExists("This address is suppressed already.", suppression_id=other)
            await once.keep(connection, added[0], status=201)
        return added[0]

    async def delete(self, principal: Principal, suppression_id: str) -> None:
        """Raises SuppressionNotFound."""
        async with self._database.tenant(principal.tenant) as connection:
            known = ids.is_id(suppression_id, "sup")
            if not known or not await store.delete(connection, principal.tenant, _test(principal), suppression_id):
                raise SuppressionNotFound("There is no such suppression.")

    async def page(
        self,
        principal: Principal,
        paging: Paging,
        *,
        email: str | None = None,
        reason: str | None = None,
        stream: str | None = None,
    ) -> Page[Suppression]:
        """One page, by time."""
        key = addresses.email(email, "?email")[1] if email is not None else None
        filters = {"email_key": key, "reason": reason, "stream": stream}
        tenant, test = principal.tenant, _test(principal)
        async with self._database.tenant(tenant) as connection:
            found = await store.page(connection, tenant, paging, test=test, **filters)
            total = None
            if paging.offset is not None:
                total = await store.count(connection, tenant, test=test, **filters)
        return paging.page(found, lambda one: (one.created_at, one.id), total)

    async def add(self, connection: Connection, tenant: str, found: Sequence[Found], source: str) -> None:
        """In the caller's transaction; what is there already stays as it is."""
        if found:
            await store.add(connection, tenant, found, source)

    async def lift(self, connection: Connection, tenant: str, keys: Iterable[tuple[bool, str]]) -> None:
        """The provider says that these (test, address key) want mail again: forget that they unsubscribed."""
        for wanted in (False, True):
            if mine := sorted({key for test, key in keys if test is wanted}):
                await store.lift(connection, tenant, wanted, mine)

    async def against(self, connection: Connection, tenant: str, keys: Sequence[str]) -> "Standing":
        """What stands against these addresses now."""
        standing: dict[tuple[str, bool], dict[str, str]] = {}
        if keys:
            for key, test, stream, reason in await store.find(connection, tenant, keys):
                standing.setdefault((key, test), {})[stream] = reason
        return Standing(standing)


class Standing:
    """The suppressions of some addresses at one moment."""

    def __init__(self, standing: Mapping[tuple[str, bool], Mapping[str, str]]) -> None:
        self._standing = standing

    def reason(self, key: str, *, test: bool, stream: str) -> str | None:
        """Why this address must not get mail of this stream; None: it may."""
        streams = self._standing.get((key, test), {})
        return streams.get("all") or streams.get(stream)


def _test(principal: Principal) -> bool:
    return principal.environment == "test"
