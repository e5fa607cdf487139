"""Signing in: a password for a token, `pm_sess_` and 256 random bits.

The token is kept as its SHA-256: of so much chance a plain hash tells nothing. It lives for SESSION_HOURS and ends at
once with the logout, because each request reads it from PostgreSQL.
"""

import asyncio
import hashlib
import re
import secrets
from datetime import timedelta
from typing import Final

from penguin_hub.audit.service import AuditService
from penguin_hub.http.principal import CLIENT_IP
from penguin_hub.keys.errors import TenantSuspended
from penguin_hub.keys.hashing import Hasher
from penguin_hub.limits.service import Limiter
from penguin_hub.platform import addresses, clock, ids
from penguin_hub.platform.db import Database
from penguin_hub.platform.errors import Invalid
from penguin_hub.tenants import store
from penguin_hub.tenants.errors import InvalidSession, SeveralTenants, WrongLogin
from penguin_hub.tenants.schemas import Login, Session, SignedIn, User

SESSION_HOURS: Final = 12
PER_ADDRESS: Final = 20
PER_CLIENT: Final = 60
WINDOW_SECONDS: Final = 900
MOST_TENANTS: Final = 5
"""With one address; each costs a bcrypt check at the login."""

_TOKEN: Final = re.compile(r"pm_sess_[A-Za-z0-9_-]{43}")
# Checked when there is no such user, so that an answer takes as long as for a wrong password. Of a random password.
_NOBODY: Final = "$2b$12$pOVIAl8eAz5DJkinoZDpTecNlDMDnEdOp2Az0N6WWEg0HhpcJX6dS"


def is_session_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


class SessionsService:
    """`secure_cookies`: browsers send the cookie over https only, as they should wherever the hub is reached by it."""

    def __init__(
        self,
        database: Database,
        hasher: Hasher,
        limiter: Limiter,
        audit: AuditService,
        *,
        secure_cookies: bool = False,
    ) -> None:
        self.secure_cookies = secure_cookies
        self._database = database
        self._hasher = hasher
        self._limiter = limiter
        self._audit = audit
        # Tokens that are made up cost a query each; so many at once and no more, or others would wait for the pool.
        self._reading = asyncio.Semaphore(2)

    async def sign_in(self, login: Login) -> SignedIn:
        """Raises WrongLogin, SeveralTenants, TenantSuspended, RateLimited, and Unavailable also while Redis is away:
        without it nobody counts the attempts."""
        try:
            email_key = addresses.email(login.email, "#/email")[1]
        except Invalid:
            raise _wrong() from None
        client = CLIENT_IP.get() or "unknown"
        await self._limiter.throttle("login-client", client, most=PER_CLIENT, seconds=WINDOW_SECONDS)
        await self._limiter.throttle("login-address", email_key, most=PER_ADDRESS, seconds=WINDOW_SECONDS)
        async with self._database.system() as connection:
            users = await store.users_by_email(connection, email_key, MOST_TENANTS)
        user = await self._matching(users, login)
        if user.tenant_status != "active":
            raise TenantSuspended("This tenant is suspended.")
        token = "pm_sess_" + secrets.token_urlsafe(32)
        now = clock.now()
        expires = now + timedelta(hours=SESSION_HOURS)
        session = ids.new("ses")
        async with self._database.tenant(user.tenant) as connection:
            await store.insert_session(connection, user.tenant, session, user.id, _hash(token), now, expires)
            await self._audit.add(connection, user.tenant, actor=user.id, action="session.created", target=session)
        return SignedIn(token, expires, user.id, user.tenant, user.role)

    async def find(self, token: str) -> Session:
        """The session with this token, if it is good now. Raises InvalidSession, DatabaseUnavailable."""
        async with self._reading, self._database.system() as connection:
            session = await store.session_by_token(connection, _hash(token), clock.now())
        if session is None:
            raise InvalidSession("This session is not valid (any longer); sign in again.")
        return session

    async def sign_out(self, token: str) -> None:
        """Raises InvalidSession."""
        session = await self.find(token)
        async with self._database.tenant(session.tenant) as connection:
            await store.delete_session(connection, session.tenant, session.id)
            await self._audit.add(
                connection, session.tenant, actor=session.user, action="session.ended", target=session.id
            )

    async def forget_expired(self, most: int = 1000) -> int:
        """Delete sessions that ended by themselves; how many."""
        async with self._database.system() as connection:
            return await store.delete_expired_sessions(connection, clock.now(), most)

    async def _matching(self, users: list[User], login: Login) -> User:
        if login.tenant is not None:
            users = [user for user in users if user.tenant == login.tenant]
        if not users:
            await self._hasher.check(login.password, _NOBODY, "password")
            raise _wrong()
        fitting = [user for user in users if await self._hasher.check(login.password, user.password_hash, "password")]
        if not fitting:
            raise _wrong()
        if len(fitting) > 1:
            raise SeveralTenants(
                "This login fits several tenants; repeat it with `tenant`.",
                tenants=[{"id": user.tenant, "name": user.tenant_name} for user in fitting],
            )
        return fitting[0]


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _wrong() -> WrongLogin:
    return WrongLogin("There is no user with this address and password.")
