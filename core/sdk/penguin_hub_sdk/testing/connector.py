"""Suites for connectors that speak HTTP: what every one of them promises, whatever the provider."""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import msgspec
import pytest

from penguin_hub_sdk.config import decode, secret_values
from penguin_hub_sdk.connectors import BatchEmailProvider, Connector, Destination, EmailProvider, Message, Receipt
from penguin_hub_sdk.errors import (
    AuthExpired,
    NetworkFailed,
    PluginError,
    ProviderFailed,
    RateLimited,
    SignatureInvalid,
)
from penguin_hub_sdk.hooks import Plugin
from penguin_hub_sdk.testing.context import context, load, run
from penguin_hub_sdk.testing.golden import compare, readable
from penguin_hub_sdk.testing.recorder import Recorder, Reply
from penguin_hub_sdk.testing.samples import EVENT, FULL, MINIMAL

NONSENSE = (b"", b"null", b"[]", b"{}", b'"text"', b"7", b"<html>error</html>", b"\xff\xfe", b"[" * 100_000)
"""Bodies that no provider's documentation promises."""

Call = Callable[[Any], Coroutine[Any, Any, object]]


class ConnectorSuite:
    """`check()`, and how failures come out."""

    package: str
    """The plugin's import package."""
    config: dict[str, Any]
    """Settings as a tenant would send them."""
    check_replies: tuple[Reply, ...] = (Reply(json={}),)
    """What the provider answers to `check()` when all is well, in turn."""
    refused: Reply = Reply(401, json={})
    """What the provider answers when the credential is not good."""

    @property
    def plugin(self) -> Plugin[Any]:
        return load(self.package)

    @property
    def fixtures(self) -> Path:
        return Path(inspect.getfile(type(self))).parent / "fixtures"

    def connector(self, recorder: Recorder, config: Mapping[str, Any] | None = None) -> Connector:
        plugin = self.plugin
        return plugin.connect(context(plugin, config or self.config, recorder))

    def fails(self, call: Call, *replies: Reply | Exception) -> PluginError:
        """The error that a call ends in."""
        recorder = Recorder(*replies)
        with pytest.raises(PluginError) as caught:
            run(call(self.connector(recorder)))
        error = caught.value
        shown = f"{error!r} {error} {error.detail} {error.code}"
        for secret in secret_values(decode(self.plugin.config, self.config)):
            assert secret not in shown, "the error shows a secret"
        assert not isinstance(error, SignatureInvalid)
        return error

    def survives(self, call: Call, reply: Reply) -> None:
        """Whatever the provider answers, a connector returns or raises a PluginError."""
        with suppress(PluginError):
            run(call(self.connector(Recorder(reply))))

    def test_check_passes(self) -> None:
        recorder = Recorder(*self.check_replies)
        run(self.connector(recorder).check())
        assert recorder.requests, "check() asked the provider nothing"

    def test_check_depends_on_the_credential(self) -> None:
        """Another secret makes another request: otherwise nothing is proved."""
        seen = []
        changed = {name: self._other(name, value) for name, value in self.config.items()}
        for config in (self.config, changed):
            recorder = Recorder(*self.check_replies)
            run(self.connector(recorder, config).check())
            seen.append([msgspec.structs.astuple(request) for request in recorder.requests])
        assert seen[0] != seen[1]

    def test_check_says_when_the_credential_is_refused(self) -> None:
        assert isinstance(self.fails(_check, self.refused), AuthExpired)

    def test_check_when_the_provider_is_in_trouble(self) -> None:
        assert isinstance(self.fails(_check, Reply(503)), ProviderFailed)
        assert isinstance(self.fails(_check, NetworkFailed("broke off")), NetworkFailed)

    @pytest.mark.parametrize("body", NONSENSE)
    @pytest.mark.parametrize("status", [200, 400, 401, 500])
    def test_check_survives_nonsense(self, status: int, body: bytes) -> None:
        self.survives(_check, Reply(status, body=body))

    def _other(self, name: str, value: Any) -> Any:
        secret = any(value == found for found in secret_values(decode(self.plugin.config, self.config)))
        return value[::-1] + "x" if secret else value


class EmailProviderSuite(ConnectorSuite):
    """`send()`, and `send_batch()` where the manifest has one."""

    sent: Reply
    """What the provider answers when it takes a message."""
    receipt: str
    """The id in that answer, as its webhooks will name the message."""
    statuses: Mapping[int, type[PluginError]] = {401: AuthExpired, 429: RateLimited, 500: ProviderFailed}
    """What a failed send is, by HTTP status."""

    def batch_sent(self, count: int) -> Reply:
        """What the provider answers to a batch of so many messages when it takes all."""
        raise NotImplementedError("the manifest has a batch: say with batch_sent what the provider answers to one")

    def test_it_is_an_email_provider(self) -> None:
        assert isinstance(self.connector(Recorder()), EmailProvider)

    @pytest.mark.parametrize("name", ["minimal", "full"])
    def test_send_gives_the_provider_s_id(self, name: str) -> None:
        receipt = run(_send(self.connector(Recorder(self.sent)), _MESSAGES[name]))
        assert type(receipt) is Receipt
        assert receipt.id == self.receipt

    @pytest.mark.parametrize("name", ["minimal", "full"])
    def test_send_asks_what_was_recorded(self, name: str, update_fixtures: bool) -> None:
        request = self._request(_MESSAGES[name])
        secrets = secret_values(decode(self.plugin.config, self.config))
        compare(self.fixtures / f"send.{name}.request.json", readable(request, secrets), update_fixtures)

    def test_send_gives_our_ids_along(self) -> None:
        """Without them the provider's webhooks could not be matched, and each attempt would be another message."""
        body = unquote_plus(self._request(FULL).body.decode("latin-1"))
        assert FULL.id in body, "the message's id is not in the request: give it as metadata"
        assert FULL.message_id in body, "the Message-ID is not in the request"

    def test_send_again_is_the_same_request(self) -> None:
        first, second = self._request(MINIMAL), self._request(MINIMAL)
        assert (first.method, first.url, first.body) == (second.method, second.url, second.body)

    def test_send_statuses(self) -> None:
        for status, kind in self.statuses.items():
            error = self.fails(_send_minimal, Reply(status, json={}, headers={"retry-after": "7"}))
            assert type(error) is kind, f"{status} became {type(error).__name__}"
            assert error.status == status
            assert kind is not RateLimited or error.retry_after == 7

    @pytest.mark.parametrize("status", [400, 404, 413, 422])
    def test_send_refused_is_not_repeated(self, status: int) -> None:
        error = self.fails(_send_minimal, Reply(status, json={}))
        assert not error.effect.retryable

    def test_send_is_not_repeated_when_the_answer_was_lost(self) -> None:
        recorder = Recorder(NetworkFailed("broke off"))
        with pytest.raises(NetworkFailed):
            run(_send_minimal(self.connector(recorder)))
        assert len(recorder.requests) == 1, "the provider may have taken it: the hub decides about another attempt"

    @pytest.mark.parametrize("body", NONSENSE)
    @pytest.mark.parametrize("status", [200, 401, 422, 500])
    def test_send_survives_nonsense(self, status: int, body: bytes) -> None:
        self.survives(_send_minimal, Reply(status, body=body))

    def test_send_batch_gives_one_outcome_for_each_in_order(self) -> None:
        connector = self.connector(Recorder())
        most = self.plugin.manifest.batch
        if most == 1:
            assert not isinstance(connector, BatchEmailProvider), "there is a send_batch: say `batch` in the manifest"
            return
        for count in (1, 2, most):
            messages = [msgspec.structs.replace(MINIMAL, id=f"eml_{number}") for number in range(count)]
            connector = self.connector(Recorder(self.batch_sent(count)))
            assert isinstance(connector, BatchEmailProvider)
            outcomes = run(_batch(connector, messages))
            assert len(outcomes) == count
            assert all(type(outcome) is Receipt for outcome in outcomes)

    @pytest.mark.parametrize("body", NONSENSE)
    def test_send_batch_survives_nonsense(self, body: bytes) -> None:
        if self.plugin.manifest.batch > 1:
            self.survives(lambda connector: connector.send_batch([MINIMAL, FULL]), Reply(200, body=body))

    def _request(self, message: Message) -> Any:
        recorder = Recorder(self.sent)
        run(_send(self.connector(recorder), message))
        return _without_boundary(recorder.request)


class DestinationSuite(ConnectorSuite):
    """`deliver()`."""

    delivered: Reply = Reply(json={})
    """What the provider answers when it takes an event."""

    def test_it_is_a_destination(self) -> None:
        assert isinstance(self.connector(Recorder()), Destination)

    def test_deliver_asks_what_was_recorded(self, update_fixtures: bool) -> None:
        recorder = Recorder(self.delivered)
        run(_deliver(self.connector(recorder)))
        secrets = secret_values(decode(self.plugin.config, self.config))
        compare(self.fixtures / "deliver.request.json", readable(recorder.request, secrets), update_fixtures)

    def test_deliver_when_the_provider_is_in_trouble(self) -> None:
        assert isinstance(self.fails(_deliver, Reply(500)), ProviderFailed)
        assert isinstance(self.fails(_deliver, self.refused), AuthExpired)
        error = self.fails(_deliver, Reply(429, headers={"retry-after": "7"}))
        assert isinstance(error, RateLimited)
        assert error.retry_after == 7

    @pytest.mark.parametrize("body", NONSENSE)
    @pytest.mark.parametrize("status", [200, 401, 422, 500])
    def test_deliver_survives_nonsense(self, status: int, body: bytes) -> None:
        self.survives(_deliver, Reply(status, body=body))

    def test_deliver_takes_events_of_any_shape(self) -> None:
        """A tenant's own events have any data."""
        for data in ({}, {"a": None}, {"a": [1, {"b": "c"}]}, {"recipient": 7}, {"x" * 200: "y" * 20_000}):
            event = msgspec.structs.replace(EVENT, type="x.y", data=data)
            run(_deliver(self.connector(Recorder(self.delivered)), event))


_MESSAGES = {"minimal": MINIMAL, "full": FULL}


async def _check(connector: Connector) -> None:
    await connector.check()


async def _send(connector: Any, message: Message) -> Any:
    return await connector.send(message)


async def _send_minimal(connector: Any) -> Any:
    return await connector.send(MINIMAL)


async def _batch(connector: BatchEmailProvider, messages: list[Message]) -> Any:
    return await connector.send_batch(messages)


async def _deliver(connector: Any, event: Any = EVENT) -> Any:
    return await connector.deliver(event)


def _without_boundary(request: Any) -> Any:
    """A multipart body has a boundary that is different each time."""
    _, _, boundary = request.headers.get("content-type", "").partition("boundary=")
    if not boundary:
        return request
    fixed = {**request.headers, "content-type": "multipart/form-data; boundary=boundary"}
    body = request.body.replace(boundary.encode(), b"boundary")
    return msgspec.structs.replace(request, headers=fixed, body=body)
