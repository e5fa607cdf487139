"""A plugin's functions as the rest of the hub gets them: called at arm's length, their answers checked.

Whoever calls a guarded function hears a PluginError of the SDK's tree or one of `plugins.errors`, and gets the struct
that the contract promises, with text that can be stored.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Final, TypeVar, cast

import msgspec
from penguin_hub_sdk.config import secret_values
from penguin_hub_sdk.connectors import Connector, Event, Message, Receipt
from penguin_hub_sdk.context import Context
from penguin_hub_sdk.errors import PluginError
from penguin_hub_sdk.events import ProviderEvent
from penguin_hub_sdk.hooks import Plugin
from penguin_hub_sdk.webhooks import Answer, InboundRequest, Webhook

from penguin_hub.plugins.calls import Broken, Calls, clean

S = TypeVar("S", bound=msgspec.Struct)

CHECK_SECONDS: Final = 20.0
SEND_SECONDS: Final = 60.0
BATCH_SECONDS: Final = 120.0
DELIVER_SECONDS: Final = 30.0
"""Limits of one call, the provider's slowness and our own retries inside it included."""

MAX_EVENTS: Final = 10_000
"""That one inbound request may mean: more is a plugin that never ends."""
MAX_TEXT: Final = 20_000
"""Characters of any one text that a plugin returns."""


def guarded(plugin: Plugin[Any], methods: frozenset[str], calls: Calls) -> Plugin[Any]:
    """The same value with every function of it guarded."""
    plugin_id = plugin.manifest.id
    return msgspec.structs.replace(
        plugin,
        connect=partial(_connect, plugin, methods, calls),
        webhook=_webhook(plugin_id, plugin.webhook, calls) if plugin.webhook is not None else None,
        errors=dict(plugin.errors),
    )


def _connect(plugin: Plugin[Any], methods: frozenset[str], calls: Calls, context: Context[Any]) -> Connector:
    hidden = secret_values(context.config)
    made = calls.sync(
        plugin.manifest.id, "connect", lambda: plugin.connect(context), lambda value: _shaped(value, methods), hidden
    )
    return cast("Connector", _kind(methods)(made, plugin.manifest.id, context.connection, hidden, calls))


def _shaped(connector: object, methods: frozenset[str]) -> object:
    if missing := sorted(name for name in methods if not callable(getattr(connector, name, None))):
        raise Broken(f"the connector has no {missing[0]}()")
    return connector


class _Guarded:
    """Stands before one connector; `_kind` gives it the methods that the connector has, and no others."""

    def __init__(self, connector: Any, plugin: str, connection: str, hidden: Sequence[str], calls: Calls) -> None:
        self._connector = connector
        self._plugin = plugin
        self._connection = connection
        self._hidden = hidden
        self._calls = calls

    def __repr__(self) -> str:
        return f"<{self._plugin} connector of {self._connection}>"

    async def _call(self, method: str, seconds: float, check: Callable[[object], Any], *arguments: object) -> Any:
        return await self._calls.call(
            self._plugin,
            self._connection,
            method,
            lambda: getattr(self._connector, method)(*arguments),
            timeout=seconds,
            check=check,
            hidden=self._hidden,
        )


async def _check(self: _Guarded) -> None:
    await self._call("check", CHECK_SECONDS, _nothing)


async def _send(self: _Guarded, message: Message) -> Receipt:
    return cast("Receipt", await self._call("send", SEND_SECONDS, partial(_receipt, message), message))


async def _send_batch(self: _Guarded, messages: Sequence[Message]) -> Sequence[Receipt | PluginError]:
    check = partial(_receipts, messages, self._hidden)
    return cast(
        "Sequence[Receipt | PluginError]", await self._call("send_batch", BATCH_SECONDS, check, tuple(messages))
    )


async def _deliver(self: _Guarded, event: Event) -> None:
    await self._call("deliver", DELIVER_SECONDS, _nothing, event)


_METHODS: Final[Mapping[str, Callable[..., Any]]] = {
    "check": _check,
    "send": _send,
    "send_batch": _send_batch,
    "deliver": _deliver,
}


@lru_cache
def _kind(methods: frozenset[str]) -> type[_Guarded]:
    """A class that has just these methods, so that `isinstance(connector, BatchEmailProvider)` says the truth."""
    return type("GuardedConnector", (_Guarded,), {name: _METHODS[name] for name in methods})


class _GuardedVerifier:
    def __init__(self, plugin: str, webhook: Webhook, calls: Calls) -> None:
        self._plugin = plugin
        self._verifier = webhook.verify
        self._calls = calls

    def verify(self, request: InboundRequest, configs: Sequence[Any]) -> None:
        """Raises SignatureInvalid, or a PluginFault when the verifier itself is at fault: never lets through."""
        hidden = [secret for config in configs for secret in secret_values(config)]
        self._calls.sync(self._plugin, "verify", lambda: self._verifier.verify(request, configs), _nothing, hidden)


def _webhook(plugin: str, webhook: Webhook, calls: Calls) -> Webhook:
    normalise, answer, key = webhook.normalise, webhook.answer, webhook.key

    def guarded_normalise(request: InboundRequest) -> Iterable[ProviderEvent]:
        # The list is made inside the guard: a generator runs only when somebody asks it.
        return calls.sync(plugin, "normalise", lambda: list(islice(normalise(request), MAX_EVENTS + 1)), _events)

    def guarded_answer(request: InboundRequest) -> Answer | None:
        return calls.sync(plugin, "answer", lambda: answer(request) if answer else None, _answer)

    def guarded_key(request: InboundRequest) -> str | None:
        return calls.sync(plugin, "key", lambda: key(request) if key else None, _key)

    return Webhook(
        verify=_GuardedVerifier(plugin, webhook, calls),
        normalise=guarded_normalise,
        answer=guarded_answer if answer else None,
        key=guarded_key if key else None,
    )


def _nothing(value: object) -> None:
    if value is not None:
        raise Broken(f"it returned {type(value).__name__} where nothing is promised")


def _receipt(message: Message, value: object) -> Receipt:
    receipt = _struct(value, Receipt)
    if not 1 <= len(receipt.id) <= 512:
        raise Broken("its receipt's id is empty or longer than 512 characters")
    recipients = {address.email for address in message.recipients}
    if strangers := [refusal.recipient for refusal in receipt.refused if refusal.recipient not in recipients]:
        raise Broken(f"its receipt refuses {len(strangers)} recipients that the message does not have")
    return receipt


def _receipts(messages: Sequence[Message], hidden: Sequence[str], value: object) -> Sequence[Receipt | PluginError]:
    if not isinstance(value, list | tuple) or len(value) != len(messages):
        raise Broken(f"it did not return one outcome for each of {len(messages)} messages")
    return [
        clean(outcome, hidden) if isinstance(outcome, PluginError) else _receipt(message, outcome)
        for message, outcome in zip(messages, value, strict=True)
    ]


def _events(value: object) -> Iterable[ProviderEvent]:
    if not isinstance(value, list) or len(value) > MAX_EVENTS:
        raise Broken(f"it made more than {MAX_EVENTS} events of one request")
    events = [_struct(item, ProviderEvent) for item in value]
    for event in events:
        if event.at.tzinfo is None:
            raise Broken("an event's time has no zone")
        if not 1 <= len(event.key) <= 512:
            raise Broken("an event's key is empty or longer than 512 characters")
    return events


def _answer(value: object) -> Answer | None:
    if value is None:
        return None
    answer = _struct(value, Answer)
    if not 200 <= answer.status <= 299 or len(answer.body) > 65_536 or not answer.content_type.isprintable():
        raise Broken("its answer to a handshake is not a small 2xx")
    return answer


def _key(value: object) -> str | None:
    if value is None or (isinstance(value, str) and 1 <= len(value) <= 512):
        return value
    raise Broken("its key of a request is not a text of 1 to 512 characters")


def _struct(value: object, kind: type[S]) -> S:
    """The struct, with every field of the promised type and text that PostgreSQL can hold."""
    if type(value) is not kind:
        raise Broken(f"it returned {type(value).__name__} where {kind.__name__} is promised")
    try:
        return msgspec.convert(_storable(msgspec.to_builtins(value, builtin_types=_KEPT)), kind, builtin_types=_KEPT)
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as error:
        raise Broken(f"it returned a {kind.__name__} that is not one: {error}") from error


_KEPT: Final = (bytes,)


def _storable(value: Any) -> Any:
    match value:
        case str():
            return value[:MAX_TEXT].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
        case dict():
            return {_storable(key): _storable(item) for key, item in value.items()}
        case list() | tuple():
            return [_storable(item) for item in value]
    return value
