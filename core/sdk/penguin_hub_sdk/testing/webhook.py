"""The suite for a plugin's webhook: every recorded payload, good and bad signatures, and whatever bytes come."""

import inspect
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penguin_hub_sdk.config import Config, Secret, decode
from penguin_hub_sdk.errors import BadAnswer, SignatureInvalid
from penguin_hub_sdk.events import E, ProviderEvent
from penguin_hub_sdk.hooks import Plugin
from penguin_hub_sdk.testing.context import load
from penguin_hub_sdk.testing.golden import compare
from penguin_hub_sdk.testing.samples import NOW
from penguin_hub_sdk.webhooks import Answer, DocumentVerifier, InboundRequest, Webhook

KINDS = {".json": "application/json", ".form": "application/x-www-form-urlencoded", ".txt": "text/plain"}

_SUFFIXES = frozenset({*KINDS, ".http"})

HOSTILE = (
    b"", b"null", b"[]", b"{}", b'""', b"7", b"NaN", b"[null]", b"[{}]", b"[[]]", b"\xff\xfe\x00", b"\x00",
    b"[" * 100_000,
    b'{"a":' * 50_000, b"a=b&a=b", b"%ff=%00", b"<xml/>", b'{"\\ud800": 1}', b"1e999", b"-" * 1000,
)  # fmt: skip

_OTHERS: tuple[Any, ...] = (None, 7, -1.5, 10**30, True, "", "\x00", "x" * 5000, [], {}, [None], {"x": 1})


class WebhookSuite:
    """Each file of `fixtures` is a request's body, `bounce.json` (or `.form`), or a whole recorded request,
    `bounce.http`, whose real signature the settings of the suite must fit; `bounce.expected.json` is its meaning."""

    package: str
    config: dict[str, Any]
    path: str = "cnx_test00000000000000000000"

    @property
    def plugin(self) -> Plugin[Any]:
        return load(self.package)

    @property
    def webhook(self) -> Webhook:
        webhook = self.plugin.webhook
        assert webhook is not None, "the plugin has no webhook"
        return webhook

    @property
    def settings(self) -> Config:
        settings: Config = decode(self.plugin.config, self.config)
        return settings

    @classmethod
    def folder(cls) -> Path:
        return Path(inspect.getfile(cls)).parent / "fixtures"

    @classmethod
    def payloads(cls) -> list[Path]:
        """The requests: whatever is neither an expectation nor a golden request."""
        files = cls.folder().iterdir() if cls.folder().is_dir() else ()
        ours = (".expected.json", ".request.json")
        return sorted(file for file in files if file.suffix in _SUFFIXES and not file.name.endswith(ours))

    def sign(self, request: InboundRequest, settings: Config) -> InboundRequest:
        """The request as the provider signs it. Only schemes with a private key must say how."""
        signed: InboundRequest = self.webhook.verify.signed(request, settings)  # type: ignore[attr-defined] # Declared
        return signed

    def document(self) -> bytes:
        """The certificate or key set, for verifiers that need one."""
        raise NotImplementedError("the verifier needs a document: give it here")

    def verify(self, request: InboundRequest, *settings: Config) -> None:
        verifier = self.webhook.verify
        if isinstance(verifier, DocumentVerifier):
            verifier.document_url(request)
            verifier.verify_with(self.document(), request, settings)
        else:
            verifier.verify(request, settings)

    def request(self, file: Path) -> InboundRequest:
        """A fixture as it arrives."""
        if file.suffix == ".http":
            return _recorded(file.read_bytes())
        url = f"https://hub.example.com/api/webhooks/{self.plugin.manifest.id}/{self.path}"
        headers = (("content-type", KINDS[file.suffix]),)
        plain = InboundRequest(method="POST", url=url, headers=headers, body=file.read_bytes(), received_at=NOW)
        return self.sign(plain, self.settings)

    def test_there_are_recorded_payloads(self) -> None:
        assert self.payloads(), f"no payload in {self.folder()}"

    def test_a_payload_means_what_was_written_down(self, payload: Path, update_fixtures: bool) -> None:
        request = self.request(payload)
        self.verify(request, self.settings)
        events = list(self.webhook.normalise(request))
        compare(payload.with_name(payload.stem + ".expected.json"), events, update_fixtures)
        promised = {*self.plugin.manifest.events, E.UNKNOWN}
        for event in events:
            assert type(event) is ProviderEvent
            assert event.type in promised, f"{event.type} is not among the manifest's events"
            assert event.at.tzinfo is not None
            assert event.raw_type
        assert len({event.key for event in events}) == len(events), "two events of one request have the same key"

    def test_a_redelivery_is_recognised(self, payload: Path) -> None:
        first, second = self.request(payload), self.request(payload)
        assert list(self.webhook.normalise(first)) == list(self.webhook.normalise(second))
        if self.webhook.key is not None:
            assert self.webhook.key(first) == self.webhook.key(second)

    def test_a_wrong_secret_is_refused_and_a_second_one_is_tried(self, payload: Path) -> None:
        request = self.request(payload)
        for other in (self._changed(), self._changed(empty=True)):
            with pytest.raises(SignatureInvalid):
                self.verify(request, other)
            self.verify(request, other, self.settings)
        with pytest.raises(SignatureInvalid):
            self.verify(request)

    def test_an_unsigned_request_is_refused(self, payload: Path) -> None:
        """Without any header of its own, and for signatures in the body with another body."""
        request = msgspec.structs.replace(self.request(payload), headers=(), body=b"{}")
        with pytest.raises(SignatureInvalid):
            self.verify(request, self.settings)

    def test_old_and_early_requests_are_refused(self, payload: Path) -> None:
        """Where the scheme has a time at all."""
        tolerance = getattr(self.webhook.verify, "tolerance", None)
        request = self.request(payload)
        if tolerance is None or not self._timed(request):
            return
        for seconds in (-max(tolerance, 301), tolerance + 1):
            moment = request.received_at + timedelta(seconds=seconds * 1.01)
            moved = msgspec.structs.replace(request, received_at=moment)
            with pytest.raises(SignatureInvalid):
                self.verify(moved, self.settings)

    @pytest.mark.parametrize("body", HOSTILE)
    def test_hostile_bodies(self, body: bytes) -> None:
        for kind in (*KINDS.values(), "", "multipart/form-data; boundary=x", "\xff"):
            request = InboundRequest(
                method="POST", url="https://hub/", headers=(("content-type", kind),), body=body, received_at=NOW
            )
            with pytest.raises(SignatureInvalid):
                self.verify(request, self.settings)
            self._survives(request)

    def test_payloads_with_anything_in_the_wrong_place(self, payload: Path) -> None:
        """Every value of a JSON payload replaced by something else, and the payload cut off."""
        request = self.request(payload)
        for cut in (1, len(request.body) // 2, len(request.body) - 1):
            self._survives(msgspec.structs.replace(request, body=request.body[:cut]))
        if payload.suffix == ".json":
            for changed in _mutations(json.loads(request.body)):
                self._survives(msgspec.structs.replace(request, body=json.dumps(changed).encode()))

    def _survives(self, request: InboundRequest) -> None:
        """The plugin's own code answers, or says BadAnswer; nothing else comes out of it."""
        webhook = self.webhook
        try:
            events = list(webhook.normalise(request))
            assert all(type(event) is ProviderEvent for event in events)
            msgspec.json.encode(events)
        except BadAnswer:
            pass
        try:
            assert webhook.key is None or isinstance(webhook.key(request), str | None)
            assert webhook.answer is None or isinstance(webhook.answer(request), Answer | None)
        except BadAnswer:
            pass

    def _changed(self, *, empty: bool = False) -> Config:
        """The settings with other secrets, or with none where they may be absent."""
        values: dict[str, Any] = dict(self.config)
        for name in self.config:
            if isinstance(getattr(self.settings, name), Secret):
                values[name] = values[name][::-1] + "x"
        if empty:
            optional = {field.name for field in msgspec.structs.fields(self.plugin.config) if not field.required}
            values = {name: value for name, value in values.items() if name not in optional}
        changed: Config = decode(self.plugin.config, values)
        return changed

    def _timed(self, request: InboundRequest) -> bool:
        """Whether the same payload, an hour later, is signed otherwise."""
        later = msgspec.structs.replace(request, received_at=request.received_at + timedelta(hours=1))
        try:
            first, second = self.sign(request, self.settings), self.sign(later, self.settings)
        except (AttributeError, NotImplementedError):
            return True
        return (first.headers, first.body) != (second.headers, second.body)


def _mutations(value: Any) -> Iterator[Any]:
    """The document with one value at a time replaced, or taken away."""
    yield from _OTHERS
    if isinstance(value, dict):
        for name, inner in value.items():
            yield {key: other for key, other in value.items() if key != name}
            for changed in _mutations(inner):
                yield {**value, name: changed}
    elif isinstance(value, list):
        for number, inner in enumerate(value[:3]):
            for changed in _mutations(inner):
                yield [*value[:number], changed, *value[number + 1 :]]


def _recorded(raw: bytes) -> InboundRequest:
    """An `.http` file: request line with the whole URL, headers, an empty line, the body. `X-Received-At` is when."""
    head, _, body = raw.replace(b"\r\n", b"\n", raw.split(b"\n\n")[0].count(b"\r\n") + 1).partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    method, url = first.split(" ")[:2]
    pairs = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    at = next((value for name, value in pairs if name == "x-received-at"), None)
    return InboundRequest(
        method=method,
        url=url,
        headers=tuple(pair for pair in pairs if pair[0] != "x-received-at"),
        body=body,
        received_at=datetime.fromtimestamp(float(at), UTC) if at else NOW,
    )
