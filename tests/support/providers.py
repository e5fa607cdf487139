"""Stand-ins for providers: they record what they are sent and hold it against the providers' own descriptions."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from support.receiver import serving

_BESIDE = Path(__file__).parents[3] / "shared" / "vendor-specs"


def vendor_specs() -> Path | None:
    """Where the providers' descriptions are; they are test data outside the project and may be absent."""
    found = Path(os.environ.get("PENGUIN_VENDOR_SPECS", _BESIDE))
    return found if found.is_dir() else None


@dataclass
class Call:
    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, list[str]]
    json: Any = None


@dataclass
class Recorder:
    """One provider's API on this machine: `answers` by path suffix."""

    answers: dict[str, dict[str, Any]]
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    form_fields: dict[str, tuple[set[str], set[str]]] = field(default_factory=dict)
    """Path suffix -> (required, known) form fields, out of the provider's description."""
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.Response:
        form: dict[str, list[str]] = {}
        decoded = None
        if request.content_type in {"multipart/form-data", "application/x-www-form-urlencoded"}:
            for name, value in (await request.post()).items():
                form.setdefault(name, []).append(value if isinstance(value, str) else getattr(value, "filename", ""))
        elif request.can_read_body:
            decoded = msgspec.json.decode(await request.read())
        call = Call(request.method, request.path, dict(request.headers), form, decoded)
        for suffix, (required, known) in self.form_fields.items():
            if request.path.endswith(suffix):
                self.problems += [f"{request.path} lacks {name}" for name in required - form.keys()]
                extra = {n for n in form if n not in known and not n.startswith(("h:", "v:", "o:", "t:"))}
                self.problems += [f"{request.path} does not know {name}" for name in extra]
        async with self._heard:
            self.calls.append(call)
            self._heard.notify_all()
        for suffix, answer in self.answers.items():
            if request.path.endswith(suffix):
                number = sum(1 for c in self.calls if c.path == request.path)
                body = msgspec.json.encode(answer).replace(b"{n}", str(number).encode())
                return web.Response(body=body, content_type="application/json")
        self.problems.append(f"{request.method} {request.path} is not an address of this provider")
        return web.json_response({"message": "Not found"}, status=404)

    async def until(self, path_suffix: str, count: int, *, seconds: float = 20.0) -> list[Call]:
        """Wait for that many calls to an address."""

        def there() -> list[Call]:
            return [call for call in self.calls if call.path.endswith(path_suffix)]

        async with self._heard, asyncio.timeout(seconds):
            await self._heard.wait_for(lambda: len(there()) >= count)
        return there()


@asynccontextmanager
async def mailgun() -> AsyncIterator[Recorder]:
    """Mailgun's sending API; requests are held against the description where it is present."""
    recorder = Recorder(
        answers={
            "/messages": {"id": "<20261120.{n}@mg.example.com>", "message": "Queued. Thank you."},
            "/mg.example.com": {"domain": {"name": "mg.example.com", "state": "active"}, "message": "ok"},
        }
    )
    specs = vendor_specs()
    if specs:
        document = msgspec.json.decode((specs / "mailgun/openapi.trimmed.json").read_bytes())
        operation = document["paths"]["/v3/{domain_name}/messages"]["post"]
        schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
        recorder.form_fields["/messages"] = set(schema["required"]), set(schema["properties"])
    async with serving(recorder.take) as recorder.url:
        yield recorder


@asynccontextmanager
async def slack() -> AsyncIterator[Recorder]:
    """Slack's Web API: every answer is 200 with `ok`."""
    recorder = Recorder(
        answers={
            "/api/auth.test": {"ok": True, "team": "Penguins", "user": "hub", "team_id": "T1", "user_id": "U1"},
            "/api/conversations.info": {"ok": True, "channel": {"id": "C024BE91L", "is_member": True}},
            "/api/chat.postMessage": {"ok": True, "channel": "C024BE91L", "ts": "1503435956.00024{n}"},
        }
    )
    async with serving(recorder.take) as recorder.url:
        yield recorder
