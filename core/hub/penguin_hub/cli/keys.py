"""`penguin keys`: API keys from the operator's side, who needs no key for it."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from penguin_hub.cli import common

if TYPE_CHECKING:
    from penguin_hub.http.principal import Principal
    from penguin_hub.keys.service import KeysService


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("keys", help="make, list and revoke API keys", description="API keys of a tenant.")
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    create = _action(
        actions,
        "create",
        _create,
        help="make a key and print it, this once",
        description="Makes an API key and prints it: it is shown this once and never again.",
    )
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument(
        "--scopes",
        default="",
        metavar="A,B",
        help="scopes, separated by commas, or `all` (see docs/api/authentication.md)",
    )
    create.add_argument("--environment", choices=("live", "test"), default="live", help="default: live")
    create.add_argument("--admin", action="store_true", help="may also manage keys and connections")
    create.add_argument("--expires-in", type=float, metavar="DAYS", help="days until the key ends (default: never)")
    create.add_argument(
        "--allow-ip", action="append", default=[], metavar="CIDR", help="works only from there; may be repeated"
    )

    listing = _action(
        actions,
        "list",
        _list,
        help="list keys",
        description="The tenant's keys, the newest first; never the keys themselves.",
    )
    listing.add_argument("--status", choices=("active", "expired", "revoked"), help="only those")

    revoke = _action(
        actions, "revoke", _revoke, help="end a key", description="Ends a key everywhere within one second."
    )
    revoke.add_argument("key", metavar="KEY_ID", help="the id of the key: key_...")


def _action(actions: Any, name: str, run: Callable[[argparse.Namespace], int], **texts: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, **texts)
    parser.add_argument("--tenant", metavar="TENANT_ID", help="whose keys (not needed where there is one tenant)")
    common.data_argument(parser)
    common.json_argument(parser)
    parser.set_defaults(run=run)
    return parser


def _create(arguments: argparse.Namespace) -> int:
    from penguin_hub.http.guards import SCOPES  # noqa: PLC0415 -- see penguin_hub.cli
    from penguin_hub.keys.schemas import NewApiKey  # noqa: PLC0415 -- see penguin_hub.cli

    given = [scope.strip() for scope in arguments.scopes.split(",") if scope.strip()]
    days = arguments.expires_in
    values = {
        "name": arguments.name,
        "scopes": list(SCOPES) if given == ["all"] else given,
        "environment": arguments.environment,
        "admin": arguments.admin,
        "allowed_ips": arguments.allow_ip,
        "expires_at": None if days is None else datetime.now(UTC) + timedelta(days=days),
    }
    new = common.convert(values, NewApiKey)
    made = _with_keys(arguments, lambda keys, principal: keys.create(principal, new))
    if arguments.json:
        common.say_struct(made)
    else:
        common.say(f"{made.key}\n{made.id}: keep the key safe, it is shown this once.")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from penguin_hub.http.paging import Paging  # noqa: PLC0415 -- see penguin_hub.cli
    from penguin_hub.keys.schemas import ApiKey  # noqa: PLC0415 -- see penguin_hub.cli

    async def everything(keys: "KeysService", principal: "Principal") -> list[ApiKey]:
        found: list[ApiKey] = []
        after = None
        while True:
            page = await keys.page(principal, Paging(limit=100, after=after), status=arguments.status)
            found += page.data
            if not page.has_more:
                return found
            after = (found[-1].created_at, found[-1].id)

    found = _with_keys(arguments, everything)
    if arguments.json:
        common.say_struct(found)
    else:
        rows = [
            (
                key.id,
                key.name,
                key.environment,
                key.status,
                "yes" if key.admin else "",
                ",".join(key.scopes),
                key.last_used_at,
            )
            for key in found
        ]
        common.say(common.table(("ID", "NAME", "ENVIRONMENT", "STATUS", "ADMIN", "SCOPES", "LAST USED"), rows))
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    _with_keys(arguments, lambda keys, principal: keys.revoke(principal, arguments.key))
    if arguments.json:
        common.say_json({"id": arguments.key, "status": "revoked"})
    else:
        common.say(f"{arguments.key} is revoked.")
    return 0


def _with_keys(arguments: argparse.Namespace, work: Callable[["KeysService", "Principal"], Awaitable[Any]]) -> Any:
    common.log_to_stderr(quiet=True)

    async def run() -> Any:
        async with _keys(arguments) as (keys, principal):
            return await work(keys, principal)

    return asyncio.run(run())


@asynccontextmanager
async def _keys(arguments: argparse.Namespace) -> AsyncIterator[tuple["KeysService", "Principal"]]:
    from penguin_hub.keys.service import command_line  # noqa: PLC0415 -- see penguin_hub.cli
    from penguin_hub.platform.embedded.errors import StartupError  # noqa: PLC0415 -- see penguin_hub.cli
    from penguin_hub.runtime.services import opened  # noqa: PLC0415 -- see penguin_hub.cli

    async with opened(common.settings(arguments)) as services:
        if arguments.tenant is not None:
            tenant = await services.tenants.get(arguments.tenant)
        else:
            tenants = await services.tenants.all_tenants()
            if len(tenants) != 1:
                raise StartupError(
                    f"There are {len(tenants)} tenants: name one with --tenant (`penguin tenants list`)."
                )
            tenant = tenants[0]
        yield services.keys, command_line(tenant)
