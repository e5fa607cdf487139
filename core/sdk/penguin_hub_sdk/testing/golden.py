"""Fixtures beside the tests: what a request looked like when somebody read it and found it right."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from penguin_hub_sdk.testing.recorder import Recorded

# Of the client, not of the plugin; a boundary is different each time.
_OURS: Final = frozenset({"host", "accept", "accept-encoding", "user-agent", "content-length", "connection"})


def compare(file: Path, found: Any, update: bool) -> None:
    """Assert that the fixture says what was found; with `update` make it say so."""
    plain = msgspec.json.decode(msgspec.json.encode(found))  # tuples become lists, as they are in the file
    if update:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    assert file.is_file(), f"{file} is missing: run pytest with --update-fixtures, and read what it writes"
    assert plain == json.loads(file.read_bytes())


def readable(request: Recorded, secrets: Iterable[str]) -> dict[str, Any]:
    """A request as a fixture shows it: decoded, and without the secrets."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    headers = {name: value for name, value in request.headers.items() if name not in _OURS}
    if kind.startswith("multipart/"):
        headers["content-type"] = kind
    for name, value in headers.items():
        if name == "authorization" or any(secret in value for secret in secrets):
            headers[name] = f"{value.partition(' ')[0]} ***" if name == "authorization" else "***"
    shown: dict[str, Any] = {"method": request.method, "url": request.url, "headers": dict(sorted(headers.items()))}
    if kind == "application/json":
        shown["json"] = request.json()
    elif kind == "application/x-www-form-urlencoded" or kind.startswith("multipart/"):
        shown["form"] = [list(pair) for pair in request.form()]
        shown["files"] = [[*names, content.decode("latin-1")] for *names, content in request.files()]
    elif request.body:
        shown["body"] = request.body.decode("latin-1")
    return shown
