"""The SSRF wall: CASES W41 to W44."""

import asyncio
import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penguin_hub_sdk import addresses
from penguin_hub_sdk.addresses import AddressRefused, NameUnknown, judge, parse_host, parse_url, resolve, vet

BLOCKED = """
0.0.0.0 0.255.255.255 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.255 169.254.169.254
169.254.0.1 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.255 192.0.2.1 192.88.99.0 192.88.99.255 192.168.0.1
198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:7f00:1 ::5efe:7f00:1 ::808:808
64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe 64:ff9b:0:1::808:808 64:ff9b:1::1 64:ff9b:1:ffff::808:808 100::1
2001::1 2001:1ff::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 3fff:fff::1 5f00::1 fc00::1 fd00:ec2::254
fe80::1 febf::1 fec0::1 feff::1 ff02::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
"""

ALLOWED = """
1.1.1.1 8.8.8.8 192.88.98.255 192.88.100.1 223.255.255.255 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0
172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.1 198.17.255.255 198.20.0.0 2606:4700:4700::1111 2001:200::1
2003::1 64:ff9b::808:808 ::ffff:8.8.8.8 2400::1
"""


@pytest.mark.parametrize("text", re.findall(r"\S+", BLOCKED))
def test_w41_blocked(text: str) -> None:
    assert not vet(ip_address(text))


@pytest.mark.parametrize("text", re.findall(r"\S+", ALLOWED))
def test_w41_allowed(text: str) -> None:
    assert vet(ip_address(text))


@given(st.ip_addresses(v=4))
def test_w41_an_ipv4_address_is_judged_alike_however_it_is_carried(address: object) -> None:
    number = int(ip_address(str(address)))
    plain = vet(ip_address(str(address)))
    assert vet(ip_address(f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}")) == plain
    assert vet(ip_address(f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}")) == plain


def test_w41_the_operator_may_open_a_range_for_every_spelling_of_it() -> None:
    allow = addresses.networks(["127.0.0.1/32"])
    assert vet(ip_address("127.0.0.1"), allow)
    assert vet(ip_address("::ffff:127.0.0.1"), allow)
    assert not vet(ip_address("127.0.0.2"), allow)


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0", "0x7f000001", "1.2.3.4.5", "256.1.1.1", "01.1.1.1",
     "1.2.3.0x4", "\uff11\uff12\uff17.0.0.1", "\uff11.1.1.1", "\u24dbocalhost",
     "localhost.", "example.com.", "exa mple.com", "", ".", "-a.com", "a..b",
     "fe80::1%eth0", "[127.0.0.1]", "a" * 64 + ".com", ("a" * 60 + ".") * 5 + "com", "a\x00b.com", "a/b", "1.1.1.1\n"],
)  # fmt: skip
def test_w42_odd_spellings_are_refused(host: str) -> None:
    with pytest.raises(AddressRefused):
        parse_host(host)


@pytest.mark.parametrize(
    "url",
    ["https://user@127.0.0.1/", "https://user:pw@example.com/", "https://2130706433/", "https://0x7f.1/", "https://0/",
     "https://127.1/", "https://0177.0.0.1/", "https://localhost./", "https://exa\nmple.com/", "https://exam\tple.com/",
     "https://example.com\\@127.0.0.1/", "https://example.com/\x00", " https://example.com/", "https://\uff11\uff12\uff17.0.0.1/",
     "https:///path", "https://", "//example.com/", "https://example.com:0/", "https://example.com:99999/",
     "https://example.com:/", "https://[::1", "https://example.com:25/", "https://example.com:٣/"],
)  # fmt: skip
def test_w42_odd_urls_are_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        parse_url(url)


@pytest.mark.parametrize("scheme", ["file", "gopher", "ftp", "unix", "http", "javascript", "data", ""])
def test_w44_only_the_schemes_asked_for(scheme: str) -> None:
    with pytest.raises(AddressRefused):
        parse_url(f"{scheme}://example.com/")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com/hook", ("https", "example.com", 443)),
        ("HTTPS://Example.COM:8443/hook?a=b#c", ("https", "example.com", 8443)),
        ("https://[2606:4700:4700::1111]/", ("https", "2606:4700:4700::1111", 443)),
        ("https://xn--bcher-kva.example/", ("https", "xn--bcher-kva.example", 443)),
        ("https://1.1.1.1:444", ("https", "1.1.1.1", 444)),
    ],
)
def test_urls_that_are_fine(url: str, expected: tuple[str, str, int]) -> None:
    found = parse_url(url)
    assert (found.scheme, found.host, found.port) == expected


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::ffff:7f00:1]", "localhost", "LOCALHOST", "169.254.169.254"])
async def test_w42_every_spelling_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises(AddressRefused):
        await resolve(host, 443)


async def test_w42_the_operator_may_open_the_loopback() -> None:
    allow = addresses.networks(["127.0.0.1/32"])
    assert await resolve("127.0.0.1", 443, allow) == (ip_address("127.0.0.1"),)
    assert await resolve("localhost", 443, allow) == (ip_address("127.0.0.1"),)


class _Resolver:
    """A stand-in for the system's resolver: what each name answers, in turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers = list(answers)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.getaddrinfo)

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        texts = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not texts:
            raise OSError("no such name")
        return [(10 if ":" in text else 2, 1, 6, "", (text, port)) for text in texts]


@pytest.mark.parametrize(
    "answer",
    [["10.0.0.1"], ["::1"], ["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["2606:4700:4700::1111", "127.0.0.1"],
     ["fe80::1%eth0"], ["64:ff9b::7f00:1"]],
)  # fmt: skip
async def test_w43_a_name_that_leads_inside_is_refused(monkeypatch: pytest.MonkeyPatch, answer: list[str]) -> None:
    _Resolver(monkeypatch, answer)
    with pytest.raises(AddressRefused):
        await resolve("evil.example", 443)


async def test_w43_a_public_name_gives_its_addresses_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    _Resolver(monkeypatch, ["8.8.8.8", "2606:4700:4700::1111", "8.8.8.8"])
    assert await resolve("good.example", 443) == (ip_address("8.8.8.8"), ip_address("2606:4700:4700::1111"))


async def test_w43_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _Resolver(monkeypatch, [])
    with pytest.raises(NameUnknown):
        await resolve("nowhere.example", 443)


def test_w43_a_mix_of_public_and_opened_addresses_is_still_a_mix() -> None:
    allow = addresses.networks(["10.0.0.0/8"])
    mixed = [ip_address("8.8.8.8"), ip_address("10.0.0.1"), ip_address("127.0.0.1")]
    with pytest.raises(AddressRefused):
        judge("evil.example", mixed, allow)
    with pytest.raises(NameUnknown):
        judge("nothing.example", [])


@given(st.text(max_size=60))
def test_w42_a_host_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        found = parse_host(text)
    except AddressRefused:
        return
    assert str(found).isascii()
    assert str(found) == str(found).lower()


@given(st.text(max_size=60).map("https://".__add__))
def test_w42_a_url_is_read_or_refused_and_nothing_else(url: str) -> None:
    try:
        found = parse_url(url)
    except AddressRefused:
        return
    assert 0 < found.port < 65536
