"""`/platform/api-keys`."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from litestar import Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, Parameter

from penguin_hub.http.etags import IfMatch, etag, expected_version
from penguin_hub.http.guards import admin_only
from penguin_hub.http.paging import Cursor, Limit, Offset, Order, Page, Pager, parameter
from penguin_hub.http.principal import Environment, Principal
from penguin_hub.keys.schemas import ApiKey, ApiKeyChange, CreatedApiKey, NewApiKey, Rotation, Status, Usage
from penguin_hub.keys.service import KeysService
from penguin_hub.platform import clock

TAGS = ["API keys"]
GUARDS = [admin_only]

KeyId = Annotated[str, Parameter(description="A key's id, `key_...`.", max_length=64)]
Granularity = Literal["hour", "day"]


def _one(key: ApiKey) -> Response[ApiKey]:
    return Response(key, headers={"ETag": etag(key.version)})


def _once(key: CreatedApiKey) -> Response[CreatedApiKey]:
    """An answer that holds a key: for nobody's cache."""
    return Response(key, status_code=201, headers={"ETag": etag(key.version), "cache-control": "no-store"})


@get("/platform/api-keys", guards=GUARDS, tags=TAGS, operation_id="listApiKeys", summary="List API keys")
async def list_api_keys(
    principal: NamedDependency[Principal],
    keys: NamedDependency[KeysService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    sort_by: Annotated[Literal["created_at", "name"], Parameter(description="The order.")] = "created_at",
    order: Order = "desc",
    environment: Annotated[Environment | None, Parameter(description="Only live or only test keys.")] = None,
    status: Annotated[Status | None, Parameter(description="Only keys in this state.")] = None,
) -> Page[ApiKey]:
    """Without the keys themselves: nobody can show them again."""
    paging = pager.paging(
        tenant=principal.tenant,
        route="api-keys",
        limit=limit,
        offset=offset,
        cursor=cursor,
        sort_by=sort_by,
        order=order,
        filters={"environment": environment, "status": status},
    )
    return await keys.page(principal, paging, environment=environment, status=status)


@post("/platform/api-keys", guards=GUARDS, tags=TAGS, operation_id="createApiKey", summary="Create an API key")
async def create_api_key(
    data: JSONBody[NewApiKey], principal: NamedDependency[Principal], keys: NamedDependency[KeysService]
) -> Response[CreatedApiKey]:
    """The answer holds the key, this once. Takes no Idempotency-Key: a repeated answer would have to be kept."""
    return _once(await keys.create(principal, data))


@get("/platform/api-keys/{key_id:str}", guards=GUARDS, tags=TAGS, operation_id="getApiKey", summary="Get an API key")
async def get_api_key(
    key_id: KeyId, principal: NamedDependency[Principal], keys: NamedDependency[KeysService]
) -> Response[ApiKey]:
    """What is known of one key; its ETag is what If-Match takes."""
    return _one(await keys.get(principal, key_id))


@patch(
    "/platform/api-keys/{key_id:str}",
    guards=GUARDS,
    tags=TAGS,
    operation_id="updateApiKey",
    summary="Change an API key",
)
async def update_api_key(
    key_id: KeyId,
    data: JSONBody[ApiKeyChange],
    principal: NamedDependency[Principal],
    keys: NamedDependency[KeysService],
    if_match: IfMatch = None,
) -> Response[ApiKey]:
    """Name, scopes, expiry, addresses. What the body leaves out stays as it is."""
    return _one(await keys.change(principal, key_id, data, expected_version(if_match)))


@delete(
    "/platform/api-keys/{key_id:str}",
    guards=GUARDS,
    tags=TAGS,
    operation_id="revokeApiKey",
    summary="Revoke an API key",
)
async def revoke_api_key(
    key_id: KeyId, principal: NamedDependency[Principal], keys: NamedDependency[KeysService]
) -> None:
    """Takes effect everywhere within a second. The key stays in the list, as revoked."""
    await keys.revoke(principal, key_id)


@post(
    "/platform/api-keys/{key_id:str}/rotate",
    guards=GUARDS,
    tags=TAGS,
    operation_id="rotateApiKey",
    summary="Replace an API key",
)
async def rotate_api_key(
    key_id: KeyId, data: JSONBody[Rotation], principal: NamedDependency[Principal], keys: NamedDependency[KeysService]
) -> Response[CreatedApiKey]:
    """A new key with the same rights; the old one goes on working for `overlap_seconds`, 0 ends it at once."""
    return _once(await keys.rotate(principal, key_id, data))


@get(
    "/platform/api-keys/{key_id:str}/usage",
    guards=GUARDS,
    tags=TAGS,
    operation_id="getApiKeyUsage",
    summary="Get an API key's usage",
)
async def get_api_key_usage(
    key_id: KeyId,
    principal: NamedDependency[Principal],
    keys: NamedDependency[KeysService],
    since: Annotated[datetime | None, Parameter(description="From this moment on, with its zone.")] = None,
    until: Annotated[datetime | None, Parameter(description="Up to and without this moment, with its zone.")] = None,
    granularity: Annotated[Granularity, Parameter(description="One point an hour or a day.")] = "hour",
) -> Usage:
    """Requests and errors over time, the last 24 hours (or 30 days) unless you say otherwise. Some seconds behind."""
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and moment.tzinfo is None:
            raise parameter(name, "format", f"`{name}` needs a time zone, such as Z")
    end = until or clock.now()
    start = since or end - (timedelta(hours=23) if granularity == "hour" else timedelta(days=29))
    return await keys.usage(principal, key_id, since=start, until=end, granularity=granularity)


routes = [
    list_api_keys,
    create_api_key,
    get_api_key,
    update_api_key,
    revoke_api_key,
    rotate_api_key,
    get_api_key_usage,
]
