"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a repeated request has one effect.

The answer is written in the transaction of the effect, so the two exist together or not at all, whenever a process
dies. A route takes part by asking for `once`, and its service by two calls:

    async with database.tenant(principal.tenant) as connection:
        await once.begin(connection)  # before anything else: a repetition ends here
        ...
        await once.keep(connection, answer, status=201)  # last: what the client is told

Without the header both do nothing. A refusal has no effect and is not kept: the same key may be tried again.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from litestar import MediaType, Request, Response
from litestar.di import NamedDependency
from litestar.params import HeaderParameter

from penguin_hub.http import store
from penguin_hub.http.principal import Principal
from penguin_hub.platform import clock
from penguin_hub.platform.db import Connection, Database
from penguin_hub.platform.errors import Conflict, Invalid

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
MAX_LENGTH: Final = 255
KEPT_HOURS: Final = 24

_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class KeyInUse(Conflict):
    """The first request with this key has not been answered yet."""

    code = "idempotency_key_in_use"


class KeyReused(Invalid):
    """The key was used for another request."""

    code = "idempotency_key_reused"


class AnswerLost(Conflict):
    """The request had its effect, and the answer cannot be read any more (the database's password was changed)."""

    code = "idempotency_answer_lost"


class Replayed(Exception):
    """Not an error: the answer was given before. The edge gives it again."""

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        super().__init__("replayed")
        self.status = status
        self.body = body
        self.headers = headers


class _Answer(msgspec.Struct, frozen=True, array_like=True):
    body: bytes
    headers: dict[str, str]


class Once:
    """One request's wish to be done once. Made by `Idempotency`; `NEVER_ASKED` is that of a request without a key."""

    def __init__(self, tenant: str, key_hash: bytes, fingerprint: bytes, seal: AESGCM | None) -> None:
        self._tenant = tenant
        self._key_hash = key_hash
        self._fingerprint = fingerprint
        self._seal = seal

    async def begin(self, connection: Connection) -> None:
        """Call first in the transaction of the effect, which must be bound to the request's tenant.

        Raises Replayed (let it rise), KeyReused, KeyInUse, AnswerLost.
        """
        if self._seal is None:
            return
        lock = int.from_bytes(hashlib.sha256(self._aad).digest()[:8], "big", signed=True)
        alone, kept = await store.begin(connection, self._tenant, self._key_hash, lock, clock.now())
        if kept is None:
            if not alone:
                raise _in_use()
            return
        if kept.fingerprint != self._fingerprint:
            raise KeyReused.field(HEADER, "reused", "This Idempotency-Key was used for another request.")
        try:
            opened = self._seal.decrypt(kept.answer[:12], kept.answer[12:], self._aad)
        except InvalidTag as error:
            raise AnswerLost("The request was carried out before; its answer cannot be shown again.") from error
        answer = msgspec.msgpack.decode(opened, type=_Answer)
        raise Replayed(kept.status, answer.body, answer.headers)

    async def keep(
        self, connection: Connection, answer: object, *, status: int, headers: Mapping[str, str] | None = None
    ) -> None:
        """Call last in the transaction: `answer` is what the route returns. Raises KeyInUse."""
        if self._seal is None:
            return
        nonce = secrets.token_bytes(12)
        plain = msgspec.msgpack.encode(_Answer(msgspec.json.encode(answer), dict(headers or {})))
        kept = store.Kept(self._fingerprint, status, nonce + self._seal.encrypt(nonce, plain, self._aad))
        now = clock.now()
        until = now + timedelta(hours=KEPT_HOURS)
        if not await store.keep(connection, self._tenant, self._key_hash, kept, now, until):
            raise _in_use()

    @property
    def _aad(self) -> bytes:
        return self._tenant.encode() + b"\0" + self._key_hash


NEVER_ASKED: Final = Once("", b"", b"", None)

KeyHeader = Annotated[
    str | None,
    HeaderParameter(
        name=HEADER,
        max_length=MAX_LENGTH + 2,
        description=(
            "Makes it safe to repeat the request: for 24 hours the same key and body get the first answer again, with "
            "`Idempotent-Replayed: true`. The same key with another body is refused with 422, and with 409 while the "
            "first is still at work."
        ),
    ),
]


class Idempotency:
    """Makes `Once` from requests. One for the process."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes, the same on every node, that answers are sealed with (some show a secret once)."""
        self._seal = AESGCM(key)

    async def once(
        self,
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        idempotency_key: KeyHeader = None,
    ) -> Once:
        """The dependency. Raises Invalid for a key that is none."""
        if idempotency_key is None:
            return NEVER_ASKED
        if len(request.headers.getall(HEADER.lower(), [])) > 1:
            raise Invalid.field(HEADER, "duplicate", "Send one Idempotency-Key.")
        body = await request.body()
        target = f"{request.method} {request.scope['path']}?{request.url.query}".encode()
        return Once(
            principal.tenant,
            # A test key's requests must not answer for a live key's.
            hashlib.sha256(f"{principal.environment}\0{parsed(idempotency_key)}".encode()).digest(),
            hashlib.sha256(target + b"\0" + body).digest(),
            self._seal,
        )


def parsed(value: str) -> str:
    """The key itself: quoted as the draft wants it (an RFC 9651 String), or bare as most clients send it."""
    if match := _QUOTED.fullmatch(value):
        key = re.sub(r"\\(.)", r"\1", match[1])
    elif _BARE.fullmatch(value) and not value.startswith('"'):
        key = value
    else:
        raise Invalid.field(HEADER, "format", "An Idempotency-Key is printable ASCII, in double quotes or bare.")
    if not 1 <= len(key) <= MAX_LENGTH:
        raise Invalid.field(HEADER, "length", f"An Idempotency-Key has 1 to {MAX_LENGTH} characters.")
    return key


async def forget_expired(database: Database) -> int:
    """Upkeep: drop the answers whose day is over; how many."""
    gone = 0
    while True:
        async with database.system() as connection:
            count = await store.forget_expired(connection, clock.now(), 5_000)
        gone += count
        if count < 5_000:
            return gone


def on_replayed(_: Request[Any, Any, Any], answer: Replayed) -> Response[bytes]:
    """The exception handler."""
    return Response(
        answer.body,
        status_code=answer.status,
        headers={**answer.headers, REPLAYED: "true"},
        media_type=MediaType.JSON,
    )


HANDLERS: dict[Any, Any] = {Replayed: on_replayed}


def _in_use() -> KeyInUse:
    return KeyInUse("The first request with this Idempotency-Key is still at work.", retry_after=1)
