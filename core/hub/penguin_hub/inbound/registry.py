"""Who does what with which event of which integration.

    registry.register(ANY, "email.*", emails.record)
    registry.register("acme", "unknown", look_closer)

A handler runs in the transaction that marks the request as processed: its effect happens once, or not at all.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from penguin_hub_sdk.events import ProviderEvent

from penguin_hub.platform.db import Connection

ANY: Final = "*"

Handler = Callable[[Connection, str, str, Sequence[ProviderEvent]], Awaitable[None]]
"""(connection, tenant, connection id, events). Called again with the same events when the transaction failed."""


class Registry:
    """One for the process, filled when it is wired."""

    def __init__(self) -> None:
        self._handlers: list[tuple[str, str, Handler]] = []

    def register(self, integration: str, event_type: str, handler: Handler) -> None:
        """`integration` is a plugin's id or ANY; `event_type` a word, a family such as `email.*`, or `*`."""
        self._handlers.append((integration, event_type, handler))

    def chosen(self, integration: str, events: Sequence[ProviderEvent]) -> list[tuple[Handler, list[ProviderEvent]]]:
        """Each handler with the events that are for it, in the order they were registered."""
        found = []
        for plugin, pattern, handler in self._handlers:
            if plugin in (ANY, integration):
                mine = [event for event in events if _covers(pattern, event.type)]
                if mine:
                    found.append((handler, mine))
        return found


def _covers(pattern: str, word: str) -> bool:
    return pattern in (word, "*") or (pattern.endswith(".*") and word.startswith(pattern[:-1]))
