"""`penguin tenants`: for the operator."""

import argparse
import asyncio
import sys

from penguin_hub.cli import common


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("tenants", help="make and list tenants", description="Tenants of this hub.")
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    create = actions.add_parser(
        "create",
        help="make a tenant with its owner",
        description="Makes a tenant with its first workspace and its owner. The owner's password is "
        "read from standard input with --password-stdin, or made up and printed once.",
    )
    create.add_argument("name", help="the tenant's name")
    create.add_argument("--owner", required=True, metavar="EMAIL", help="the owner's address, who signs in with it")
    create.add_argument("--plan", default="starter", help="starter, pro or enterprise (default: starter)")
    create.add_argument("--password-stdin", action="store_true", help="read the owner's password from standard input")
    common.data_argument(create)
    common.json_argument(create)
    create.set_defaults(run=_create)

    listing = actions.add_parser("list", help="list tenants", description="Every tenant, the oldest first.")
    common.data_argument(listing)
    common.json_argument(listing)
    listing.set_defaults(run=_list)


def _create(arguments: argparse.Namespace) -> int:
    from penguin_hub.runtime.services import opened  # noqa: PLC0415 -- see penguin_hub.cli

    common.log_to_stderr(quiet=True)
    settings = common.settings(arguments)
    password = sys.stdin.readline().rstrip("\r\n") if arguments.password_stdin else None

    async def create() -> dict[str, object]:
        async with opened(settings) as services:
            made = await services.tenants.create_tenant(
                arguments.name, arguments.plan, owner_email=arguments.owner, owner_password=password
            )
        answer: dict[str, object] = {
            "tenant": made.tenant.id,
            "workspace": made.tenant.workspace,
            "plan": made.tenant.plan,
            "owner": made.owner,
            "email": made.owner_email,
        }
        if made.owner_password is not None:
            answer["password"] = made.owner_password
        return answer

    _show(asyncio.run(create()), as_json=arguments.json)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from penguin_hub.runtime.services import opened  # noqa: PLC0415 -- see penguin_hub.cli

    common.log_to_stderr(quiet=True)
    settings = common.settings(arguments)

    async def tenants() -> list[dict[str, object]]:
        async with opened(settings) as services:
            return [
                {"id": one.id, "name": one.name, "plan": one.plan, "status": one.status, "workspace": one.workspace}
                for one in await services.tenants.all_tenants()
            ]

    found = asyncio.run(tenants())
    if arguments.json:
        common.say_json(found)
    else:
        common.say(common.table(("ID", "NAME", "PLAN", "STATUS", "WORKSPACE"), [list(one.values()) for one in found]))
    return 0


def _show(answer: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        common.say_json(answer)
        return
    for name, value in answer.items():
        common.say(f"{name:<10} {value}")
    if "password" in answer:
        common.say("The password is shown this once.")
