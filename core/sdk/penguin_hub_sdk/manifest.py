"""What `plugin.toml` may say: everything about a plugin that is data. Unknown words are refused."""

import re
from importlib import resources
from typing import Annotated, Literal

import msgspec

Category = Literal[
    "email", "crm", "payment", "automation", "communication", "analytics", "infrastructure", "identity", "database",
    "storage", "social",
]  # fmt: skip
Status = Literal["active", "inactive", "maintenance", "deprecated"]
Retry = Literal["exponential", "linear", "none"]

PluginId = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{1,39}$")]


class ManifestInvalid(Exception):
    """The manifest cannot be read; the text names the field."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast the provider may be called, per connection. Its own answers (429, Retry-After) come first."""

    rate: Annotated[float, msgspec.Meta(gt=0)]
    """Requests per second."""
    burst: Annotated[int, msgspec.Meta(ge=1)] = 1
    retry: Retry = "exponential"
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One plugin, as its author declares it."""

    id: PluginId
    """The entry point's name, the word in URLs, the distribution's last part: `penguin-hub-<id>`."""
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    version: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+\.\d+([ab]\d+|rc\d+)?$")]
    category: Category
    summary: Annotated[str, msgspec.Meta(min_length=1, max_length=140)]
    requires_hub: str = ">=0.1"
    """Version range of the SDK's contract (PEP 440 specifiers)."""
    status: Status = "active"
    hosts: tuple[str, ...] = ()
    """Where `ctx.http` and `ctx.net` may go: `api.example.com`, `*.example.com`, `{field}` of the configuration, or a
    name with one in it (`email.{region}.amazonaws.com`). Without a port: 443 for HTTP, any for TCP."""
    events: tuple[str, ...] = ()
    """Canonical events the plugin can report, e.g. `email.delivered`."""
    docs: str | None = None
    """The provider's own documentation."""
    limits: Limits = Limits(rate=10, burst=10)
    batch: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    """Messages one `send_batch` call takes; 1 means there is no such call."""
    sandbox: bool = False
    """Nothing leaves the machine: the hub sends the mail of test keys through the plugin that says so, which needs no
    configuration. At most one such plugin is installed."""

    @classmethod
    def load(cls, package: str | None) -> "Manifest":
        """Read `plugin.toml` beside the package's modules. Raises ManifestInvalid."""
        if not package:
            raise ManifestInvalid("Manifest.load(__package__) needs a package: put the plugin into one.")
        try:
            raw = resources.files(package).joinpath("plugin.toml").read_bytes()
        except (FileNotFoundError, ModuleNotFoundError, NotADirectoryError) as error:
            raise ManifestInvalid(f"{package} has no plugin.toml beside its modules.") from error
        return parse(raw)


_PART = r"([a-z0-9-]|\{[a-z][a-z0-9_]*\})+"
_HOST = re.compile(rf"\{{[a-z][a-z0-9_]*\}}|(\*\.)?{_PART}(\.{_PART})+(:\d{{1,5}})?")


def parse(raw: bytes) -> Manifest:
    """A manifest from the bytes of its file. Raises ManifestInvalid."""
    try:
        return checked(msgspec.toml.decode(raw, type=Manifest))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ManifestInvalid(f"plugin.toml: {error}") from error


def checked(manifest: Manifest) -> Manifest:
    """The same manifest. Raises ManifestInvalid for what the types do not say, and for a value made in Python that
    does not keep them."""
    try:
        msgspec.convert(msgspec.to_builtins(manifest), Manifest)
    except (msgspec.ValidationError, TypeError) as error:
        raise ManifestInvalid(f"plugin.toml: {error}") from error
    for host in manifest.hosts:
        if not _HOST.fullmatch(host):
            raise ManifestInvalid(f"plugin.toml: hosts: {host!r} is neither a host name nor a {{field}}.")
    return manifest
