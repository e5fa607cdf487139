"""The manifest's `hosts`, filled in with one connection's settings: where its traffic may go."""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from penguin_hub_sdk.addresses import AddressRefused, parse_host, parse_url
from penguin_hub_sdk.config import Config, Secret
from penguin_hub_sdk.errors import ConfigInvalid

_FIELD: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class HostPattern(msgspec.Struct, frozen=True):
    """One permitted host; `suffix` stands for every name below it."""

    host: str
    port: int | None
    suffix: bool = False

    def matches(self, host: str, port: int, default_port: int | None) -> bool:
        """`default_port` is the port a pattern without one means; None lets it mean any."""
        if self.port is None and default_port is not None and port != default_port:
            return False
        if self.port is not None and port != self.port:
            return False
        return host.endswith("." + self.host) if self.suffix else host == self.host


def expand(hosts: Iterable[str], config: Config | None) -> tuple[HostPattern, ...]:
    """Patterns with their fields filled in. Raises ConfigInvalid, naming the field that is no host."""
    patterns = []
    for text in hosts:
        whole = _FIELD.fullmatch(text)
        if whole:
            value = _value(config, whole[1])
            if value:
                patterns.append(_from_setting(whole[1], value))
        else:
            filled = _FIELD.sub(lambda match: _label(match[1], _value(config, match[1])), text)
            suffix = filled.startswith("*.")
            host, _, port = filled.removeprefix("*.").partition(":")
            patterns.append(HostPattern(host, int(port) if port else None, suffix))
    return tuple(patterns)


def fields(hosts: Iterable[str]) -> frozenset[str]:
    """The configuration keys that patterns mention."""
    return frozenset(name for text in hosts for name in _FIELD.findall(text))


def _value(config: Config | None, name: str) -> str | None:
    value: Any = getattr(config, name, None)
    if isinstance(value, Secret):
        value = value.reveal()
    return str(value) if value is not None else None


def _label(name: str, value: str | None) -> str:
    if value is None or not _LABEL.fullmatch(value):
        raise ConfigInvalid(f"`{name}` must be one word of letters, digits and hyphens.", field=name)
    return value


def _from_setting(name: str, value: str) -> HostPattern:
    """A host a tenant typed: `mail.example.com`, with a port, an IP address, or the URL of a server."""
    try:
        if "://" in value:
            found = parse_url(value, ("https", "http"))
            return HostPattern(found.host, found.port)
        if value.count(":") == 1:
            host, _, port = value.partition(":")
            if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise AddressRefused("not a port")
            return HostPattern(str(parse_host(host)), int(port))
        return HostPattern(str(parse_host(value)), None)
    except AddressRefused as error:
        raise ConfigInvalid(f"`{name}` is not a host name or address: {error}.", field=name) from error
