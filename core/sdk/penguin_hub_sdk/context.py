"""What a connector gets from the hub, and its only way to the world."""

from typing import Generic, Protocol, TypeVar

from penguin_hub_sdk.config import Config
from penguin_hub_sdk.http import Http
from penguin_hub_sdk.network import Network

C_co = TypeVar("C_co", bound=Config, covariant=True)


class State(Protocol):
    """A few values a connector keeps for its connection (a sync token, a cursor): at most 64 keys of 16 KiB each."""

    async def get(self, key: str) -> str | None: ...

    async def set(self, key: str, value: str | None) -> None:
        """None takes the key away."""


class Log(Protocol):
    """Structured, redacted, with the tenant and connection already in it."""

    def info(self, event: str, **fields: object) -> None: ...

    def warning(self, event: str, **fields: object) -> None: ...


class Context(Generic[C_co]):
    """One connection's surroundings. Made by the hub; in tests by `penguin_hub_sdk.testing`."""

    __slots__ = ("config", "connection", "http", "log", "net", "state")

    def __init__(self, *, connection: str, config: C_co, http: Http, net: Network, state: State, log: Log) -> None:
        self.connection = connection
        """The connection's id, `cnx_...`."""
        self.config = config
        self.http = http
        """HTTP to the manifest's hosts; time-outs, retries, limits and redaction are its business."""
        self.net = net
        """TCP to the manifest's hosts, for providers that do not speak HTTP."""
        self.state = state
        self.log = log
