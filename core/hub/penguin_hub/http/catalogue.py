"""The catalogue of problem codes, out of the error classes themselves: the page `/docs/errors`, where each problem's
`type` leads, and the table in docs/api/errors.md.
"""

import html
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import msgspec
from litestar import MediaType, Response, get

from penguin_hub.http import problems
from penguin_hub.platform import errors
from penguin_hub.platform.errors import HubError

# What is true of every error of a kind; one that says more has a docstring of its own.
KINDS: Final[dict[type[HubError], str]] = {
    HubError: "The hub's own fault. It is logged under `request_id`.",
    errors.Invalid: "The request is understood and not acceptable; `errors` points at the fields.",
    errors.Unauthenticated: "No credential, or none in the form `Authorization: Bearer <API key>`.",
    errors.Forbidden: "A good credential that may not do this.",
    errors.NotFound: "There is no such thing, or it is another tenant's: the two look alike.",
    errors.Conflict: "The state of things does not allow it now.",
    errors.Gone: "It was there and is no more.",
    errors.PreconditionFailed: "Somebody else changed it since you read it (`If-Match`): read it again.",
    errors.TooMany: "A limit is used up; `Retry-After` says when to come back.",
    errors.Unavailable: "The hub or one of its helpers is out for a moment; `Retry-After` says when to come back.",
}


class Entry(msgspec.Struct, frozen=True, order=True):
    status: int
    code: str
    meaning: str


def entries() -> list[Entry]:
    """Every code that an answer may carry, by status. Knows the errors of the modules that are imported."""
    found = {kind.code: Entry(problems.status_of(kind("")), kind.code, _meaning(kind)) for kind in _kinds(HubError)}
    for status, (code, meaning) in problems.FRAMEWORK.items():
        found.setdefault(code, Entry(status, code, meaning))
    return sorted(found.values())


def markdown() -> str:
    """As a table."""
    rows = [f"| {entry.status} | `{entry.code}` | {entry.meaning} |" for entry in entries()]
    return "\n".join(["| status | code | meaning |", "|---|---|---|", *rows])


def page() -> str:
    """As a page, with an anchor for each code."""
    rows = [
        f'<tr id="{html.escape(entry.code)}"><td>{entry.status} {HTTPStatus(entry.status).phrase}</td>'
        f"<td><code>{html.escape(entry.code)}</code></td><td>{_code(html.escape(entry.meaning))}</td></tr>"
        for entry in entries()
    ]
    return _PAGE.replace("ROWS", "\n".join(rows))


@get("/docs/errors", media_type=MediaType.HTML, include_in_schema=False)
async def show() -> Response[str]:
    """What each problem's `type` leads to."""
    return Response(page(), media_type=MediaType.HTML, headers={"content-security-policy": _POLICY})


routes = [show]

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>PenguinMails Integration Hub: errors</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
  td, th { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
  tr:target { outline: 2px solid; }
  :root { color-scheme: light dark; }
</style>
</head>
<body>
<h1>Errors</h1>
<p>Every error is a problem document (RFC 9457). <code>code</code> is stable; <code>detail</code> is for people.</p>
<table>
<thead><tr><th scope="col">Status</th><th scope="col">Code</th><th scope="col">Meaning</th></tr></thead>
<tbody>
ROWS
</tbody>
</table>
</body>
</html>
"""


def _kinds(kind: type[HubError]) -> Iterator[type[HubError]]:
    """The hub's own error classes, the special ones first, so that the plain one has the last word on a shared code."""
    for special in kind.__subclasses__():
        if special.__module__.startswith("penguin_hub."):
            yield from _kinds(special)
    yield kind


def _meaning(kind: type[HubError]) -> str:
    own = kind.__dict__.get("__doc__") if kind not in KINDS else None
    if own is None:
        return next(KINDS[base] for base in kind.__mro__ if base in KINDS)
    return re.sub(r"\s+", " ", own.partition("\n\n")[0]).strip()


def _code(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", text)
