"""Everything the environment may say, as one struct. No other module reads the environment."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from penguin_hub.platform.errors import SettingsError


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The environment, parsed. URLs may hold passwords, so this struct is never logged."""

    env: Literal["development", "production"] = "development"
    data: Path = Path(".penguin")
    database_url: str
    """An owner of the database: runs migrations; the hub's own restricted roles are derived from it (platform/db)."""
    redis_url: str
    vault_addr: str | None = None
    vault_token: str | None = None
    vault_role_id: str | None = None
    vault_secret_id: str | None = None
    vault_mount: str = "secret"
    vault_namespace: str | None = None
    vault_cacert: str | None = None
    """A PEM file of the authority that signed the Vault's certificate (VAULT_CACERT)."""
    key_file: Path | None = None
    """The embedded store's key file (PENGUIN_KEY_FILE); by default DATA/keys/kek.json."""
    destination_allow: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    provider_overrides: dict[str, str] = {}
    rate_limit: int | None = None
    """Requests per minute and key instead of the plan's; development only."""
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    """Peers whose X-Forwarded-For is believed (PENGUIN_TRUSTED_PROXIES)."""
    public_url: str = "http://127.0.0.1:8080"
    """Where providers reach this hub: shown as a connection's webhook address."""
    nodes: int = 1
    """How many API processes share a key's limit while Redis is away (PENGUIN_NODES)."""

    def __repr__(self) -> str:
        return f"Settings(env={self.env!r})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("env", self.env)]


def load(environ: Mapping[str, str], *, data: Path | None = None) -> Settings:
    """Parse the environment.

    Without DATABASE_URL and REDIS_URL the servers that `penguin up` runs in the data folder are used, by what it wrote
    to `run.json` there. Raises SettingsError, which names the variable.
    """
    environ = resolved(environ)
    folder = (data or Path(environ.get("PENGUIN_DATA", ".penguin"))).absolute()
    database_url, redis_url = environ.get("DATABASE_URL"), environ.get("REDIS_URL")
    if not database_url or not redis_url:
        running = _running(folder)
        database_url = database_url or running.get("database_url")
        redis_url = redis_url or running.get("redis_url")
    if not database_url or not redis_url:
        missing = "DATABASE_URL" if not database_url else "REDIS_URL"
        raise SettingsError(
            f"{missing} is not set and no hub is running in {folder}: start one with `penguin up`, or set {missing}."
        )
    return build(environ, data=folder, database_url=database_url, redis_url=redis_url)


def resolved(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with its `vault:PATH#FIELD` values read from the Vault. Blocks. Raises SettingsError."""
    if not any(value.startswith("vault:") for value in environ.values()):
        return environ
    from penguin_hub.vault import references  # noqa: PLC0415 -- imports hvac, which most environments never need

    return references.resolve(environ)


def build(environ: Mapping[str, str], *, data: Path, database_url: str, redis_url: str) -> Settings:
    """The settings for servers that are already known; `environ` is resolved. Raises SettingsError."""
    env = environ.get("PENGUIN_ENV", "development")
    if env not in ("development", "production"):
        raise SettingsError(f"PENGUIN_ENV is {env!r}; it must be `development` or `production`.")
    production = env == "production"
    allow = _networks(environ, "PENGUIN_DESTINATION_ALLOW")
    overrides = _overrides(environ.get("PENGUIN_PROVIDER_OVERRIDES"))
    limit = _positive(environ, "PENGUIN_RATE_LIMIT")
    if production:
        if allow and environ.get("PENGUIN_UNSAFE") != "1":
            raise SettingsError(
                "PENGUIN_DESTINATION_ALLOW opens private addresses to webhooks. In production repeat the wish with "
                "PENGUIN_UNSAFE=1, or unset it."
            )
        for name, value in (("PENGUIN_PROVIDER_OVERRIDES", overrides), ("PENGUIN_RATE_LIMIT", limit)):
            if value:
                raise SettingsError(f"{name} is for development and tests; unset it in production.")
    role_id, secret_id = environ.get("VAULT_ROLE_ID"), environ.get("VAULT_SECRET_ID")
    vault_addr, vault_token = environ.get("VAULT_ADDR"), environ.get("VAULT_TOKEN")
    if vault_addr and not vault_token and not (role_id and secret_id):
        raise SettingsError("VAULT_ADDR is set; set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID, as well.")
    return Settings(
        env="production" if production else "development",
        data=data,
        database_url=_url("DATABASE_URL", database_url, ("postgresql", "postgres")),
        redis_url=_url("REDIS_URL", redis_url, ("redis", "rediss", "unix", "valkey")),
        vault_addr=_url("VAULT_ADDR", vault_addr, ("http", "https")) if vault_addr else None,
        vault_token=vault_token,
        vault_role_id=role_id,
        vault_secret_id=secret_id,
        vault_mount=environ.get("VAULT_MOUNT", "secret"),
        vault_namespace=environ.get("VAULT_NAMESPACE"),
        vault_cacert=environ.get("VAULT_CACERT"),
        key_file=Path(environ["PENGUIN_KEY_FILE"]).absolute() if environ.get("PENGUIN_KEY_FILE") else None,
        destination_allow=allow,
        provider_overrides=overrides,
        rate_limit=limit,
        trusted_proxies=_networks(environ, "PENGUIN_TRUSTED_PROXIES"),
        public_url=environ.get("PENGUIN_PUBLIC_URL", "http://127.0.0.1:8080").rstrip("/"),
        nodes=_positive(environ, "PENGUIN_NODES") or 1,
    )


class _Running(msgspec.Struct, frozen=True):
    database_url: str
    redis_url: str


def _running(folder: Path) -> dict[str, str]:
    try:
        raw = (folder / "run.json").read_bytes()
    except OSError:
        return {}
    try:
        found = msgspec.json.decode(raw, type=_Running)
    except msgspec.DecodeError as error:
        raise SettingsError(
            f"{folder / 'run.json'} is damaged ({error}): start the hub again to have it rewritten."
        ) from error
    return {"database_url": found.database_url, "redis_url": found.redis_url}


def _url(name: str, value: str, schemes: tuple[str, ...]) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise SettingsError(f"{name} is not a URL that can be read: check its host and port.") from error
    if parts.scheme not in schemes:
        raise SettingsError(f"{name} must start with {' or '.join(s + '://' for s in schemes)}.")
    return value


def _networks(environ: Mapping[str, str], name: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    found = []
    for part in filter(None, re.split(r"[,\s]+", environ.get(name, ""))):
        try:
            found.append(ipaddress.ip_network(part, strict=False))
        except ValueError as error:
            raise SettingsError(f"{name}: {part!r} is not an address range such as 10.0.0.0/8.") from error
    return tuple(found)


def _overrides(raw: str | None) -> dict[str, str]:
    if not raw:
        return {}
    try:
        found = msgspec.json.decode(raw, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise SettingsError("PENGUIN_PROVIDER_OVERRIDES must be a JSON object of host to base URL.") from error
    return {host.lower(): _url("PENGUIN_PROVIDER_OVERRIDES", url, ("http", "https")) for host, url in found.items()}


def _positive(environ: Mapping[str, str], name: str) -> int | None:
    raw = environ.get(name)
    if not raw:
        return None
    if not raw.isascii() or not raw.isdigit() or int(raw) < 1:
        raise SettingsError(f"{name} must be a whole number above zero.")
    return int(raw)
