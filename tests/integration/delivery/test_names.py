"""Names that lead inside, or change where they lead: CASES W43, and W44's proxies."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from penguin_hub.delivery.client import Client, VettedResolver
from penguin_hub.delivery.errors import UrlNotAllowed
from penguin_hub_sdk.addresses import networks
from support.delivery import LOCAL, Engine, Receiver

PUBLIC = "1.1.1.1"


class Names:
    """A resolver of the test's own: what each look-up of a name finds, the last answer for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.asked.append(host)
        answers = self.answers[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in text], socket.SOCK_STREAM, 6, "", (text, port)) for text in found]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    made = Names()
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **rest: Any) -> Any:
        if isinstance(host, str) and host.endswith(".test"):
            return made.getaddrinfo(host, int(port), *args, **rest)
        return real(host, port, *args, **rest)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return made


@pytest.fixture
async def strict() -> AsyncIterator[Client]:
    client = Client()
    yield client
    await client.close()


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], ["::1"], ["fd00::1"], ["::ffff:169.254.169.254"]],
)
async def test_w43_a_name_that_leads_inside_even_in_part_is_refused_at_creation(
    engine: Engine, names: Names, strict: Client, addresses: list[str]
) -> None:
    names.answers["inside.test"] = [addresses]
    engine.webhooks._client = strict
    with pytest.raises(UrlNotAllowed):
        await engine.endpoint("http://inside.test/")


@pytest.mark.parametrize("addresses", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["::1"]])
async def test_w43_and_at_delivery(
    engine: Engine, receiver: Receiver, names: Names, strict: Client, addresses: list[str]
) -> None:
    names.answers["moved.test"] = [[PUBLIC], addresses]
    engine.webhooks._client = strict
    await engine.endpoint(f"http://moved.test:{receiver.port}/")
    await engine.publish()
    async with engine.working(client=strict):
        (delivery,) = await engine.finished()
    assert (delivery.last_error, receiver.connections) == ("unreachable", 0)


async def test_w43_the_connection_goes_to_the_judged_address_and_the_name_is_not_asked_again(
    names: Names, receiver: Receiver
) -> None:
    # Rebinding: the first answer is good, every later one leads elsewhere.
    names.answers["rebinding.test"] = [["127.0.0.1"], ["127.0.0.2"]]
    elsewhere: list[object] = []
    trap = await asyncio.start_server(lambda *_: elsewhere.append(1), "127.0.0.2", receiver.port)
    client = Client(allow=LOCAL)
    answer = await client.post(client.target(f"http://rebinding.test:{receiver.port}/"), {"webhook-id": "x"}, b"{}")
    await client.close()
    trap.close()
    await trap.wait_closed()
    assert (answer.status, names.asked) == (200, ["rebinding.test"])
    assert not elsewhere
    assert answer.timings.dns is not None


async def test_w43_a_name_with_only_ipv6_is_reached_over_it(names: Names) -> None:
    names.answers["six.test"] = [["::1"]]
    resolver = VettedResolver(networks(["::1/128"]))
    (found,) = await resolver.resolve("six.test", 80)
    await resolver.close()
    assert (found["host"], found["family"]) == ("::1", socket.AF_INET6)


async def test_a_name_nobody_knows_yet_is_taken_and_judged_at_delivery(engine: Engine, names: Names) -> None:
    await engine.endpoint("http://not-yet.test/")
    await engine.publish()
    async with engine.working():
        (delivery,) = await engine.finished()
    assert delivery.last_error == "unreachable"


async def test_w44_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, receiver.url("/proxy"))
    names.answers["plain.test"] = [["127.0.0.1"]]
    client = Client(allow=LOCAL)
    await client.post(client.target(f"http://plain.test:{receiver.port}/direct"), {"webhook-id": "x"}, b"{}")
    await client.close()
    assert [call.path for call in receiver.calls] == ["/direct"]
