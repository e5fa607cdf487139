"""Takes credentials out of a request before it is stored. It is verified by then; nothing else needs them. Pure."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_CREDENTIAL: Final = re.compile(r"(?i)authorization|cookie|token|secret|password|passwd|credential|api-?key|(^|-)key$")
HIDDEN: Final = "(secret)"


def headers(given: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, HIDDEN if _CREDENTIAL.search(name) else value) for name, value in given]


def url(given: str) -> str:
    """Without user name and password, and with the values of parameters that look like credentials hidden."""
    parts = urlsplit(given)
    query = parse_qsl(parts.query, keep_blank_values=True)
    hidden = [(name, HIDDEN if _CREDENTIAL.search(name) else value) for name, value in query]
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=urlencode(hidden, safe="()")))
