"""The wall between a tenant's wish and our own network: which addresses may be connected to.

`ipaddress.is_global` is not used: it is true for NAT64 and 6to4 spellings of 127.0.0.1, for multicast and
for fec0::/10. The table below is our own (IANA special-purpose registries, RFC 6890 and its updates). A name is judged
by the addresses it resolves to, and the caller connects to exactly those addresses, never to the name again.
"""

import asyncio
import re
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

import msgspec

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_BLOCKED_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; the clouds' metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
    )
)
_BLOCKED_V6: Final = tuple(
    IPv6Network(text)
    for text in (
        "::/8",  # unspecified, loopback, IPv4-compatible, IPv4-translated, ISATAP spellings
        "64:ff9b::/32",  # NAT64; 64:ff9b::/96 is judged by the IPv4 address it carries
        "100::/64",  # discard
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",  # unique local; the clouds' IPv6 metadata services
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")

# The Fetch standard's "bad ports": services that a crafted HTTP request could talk to. Port 0 is not a port.
BAD_PORTS: Final = frozenset(
    int(text)
    for text in re.findall(
        r"\d+",
        "0 1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 "
        "123 135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 "
        "990 993 995 1719 1720 1723 2049 3659 4045 4190 5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080",
    )
)

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}]")


class AddressRefused(Exception):
    """May not be connected to. The text is for the operator; to a tenant blocked and unknown names look alike."""


class NameUnknown(AddressRefused):
    """The name has no address, or the resolver does not answer."""


class Destination(msgspec.Struct, frozen=True):
    """Where a URL leads."""

    scheme: str
    host: str
    """Lower case; an IPv6 address without brackets."""
    port: int


def vet(address: Address, allow: Iterable[Network] = ()) -> bool:
    """Whether an address may be connected to. `allow` opens private ranges by the operator's word.

    An IPv4 address carried in an IPv6 one (mapped, or NAT64's well-known prefix) is judged as what it is: so
    ::ffff:8.8.8.8 is allowed and ::ffff:127.0.0.1 is not.
    """
    seen = _carried(address)
    if any(seen in network or address in network for network in allow):
        return True
    blocked: Sequence[Network] = _BLOCKED_V4 if seen.version == 4 else _BLOCKED_V6
    return not any(seen in network for network in blocked)


def parse_host(host: str) -> str | Address:
    """A name in lower case, or an address. Raises AddressRefused for anything that resolvers read in more than one way:
    decimal, octal, hexadecimal and short IPv4 spellings, zone ids, other scripts, a dot at the end."""
    text = host.lower()
    if not text.isascii():
        raise AddressRefused("a host name in another script must be given in its xn-- form")
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
        if ":" not in text:
            raise AddressRefused("only an IPv6 address stands in brackets")
    if "%" in text:
        raise AddressRefused("a zone id is of no use here")
    try:
        return ip_address(text)
    except ValueError:
        pass
    labels = text.split(".")
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefused("not a host name")
    if _NUMBER.fullmatch(labels[-1]):
        raise AddressRefused("an IPv4 address is written as four decimal numbers")
    return text


def parse_url(url: str, schemes: Sequence[str] = ("https",)) -> Destination:
    """Where a URL leads, by its text alone.

    Raises AddressRefused: another scheme, a user name, a bad port, odd characters, an odd spelling of an address.
    """
    if _UNSAFE.search(url):
        raise AddressRefused("the URL holds characters that do not belong into one")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("not a URL") from error
    if parts.scheme not in schemes:
        raise AddressRefused(f"the URL must start with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if "@" in parts.netloc:
        raise AddressRefused("the URL must not hold a user name or password")
    if parts.netloc.endswith(":") or not parts.hostname:
        raise AddressRefused("the URL names no host, or an empty port")
    host = parse_host(parts.hostname)
    port = (443 if parts.scheme == "https" else 80) if port is None else port
    if port in BAD_PORTS:
        raise AddressRefused(f"port {port} is not one that webhooks and APIs live on")
    return Destination(parts.scheme, str(host), port)


async def resolve(host: str, port: int, allow: Iterable[Network] = ()) -> tuple[Address, ...]:
    """The vetted addresses of a host, in the resolver's order. Raises AddressRefused, NameUnknown.

    A name with both a public and a forbidden address is refused as a whole: the mix is how rebinding starts. The
    caller sets the time-out.
    """
    allow = tuple(allow)
    parsed = parse_host(host)
    if not isinstance(parsed, str):
        if not vet(parsed, allow):
            raise AddressRefused(f"{parsed} is not a public address")
        return (parsed,)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parsed, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NameUnknown(f"{parsed} has no address") from error
    addresses = tuple(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))
    return judge(parsed, addresses, allow)


def judge(name: str, addresses: Sequence[Address], allow: Sequence[Network] = ()) -> tuple[Address, ...]:
    """Which addresses of a name may be used. Raises AddressRefused, NameUnknown (for resolvers of one's own)."""
    if not addresses:
        raise NameUnknown(f"{name} has no address")
    good = tuple(address for address in addresses if vet(address, allow))
    if not good or (len(good) < len(addresses) and any(vet(address) for address in good)):
        raise AddressRefused(f"{name} leads to an address that is not public")
    return good


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Ranges from their spelling, e.g. `127.0.0.1/32`. Raises ValueError."""
    return tuple(ip_network(text, strict=False) for text in texts)


def _carried(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
