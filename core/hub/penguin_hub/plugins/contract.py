"""Whether a plugin's value is what the contract says. What a plugin returns is believed only after this."""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec
from penguin_hub_sdk import config as configs
from penguin_hub_sdk import manifest as manifests
from penguin_hub_sdk.config import Config, Secret
from penguin_hub_sdk.errors import PluginError
from penguin_hub_sdk.hooks import Plugin
from penguin_hub_sdk.manifest import Manifest, ManifestInvalid
from penguin_hub_sdk.webhooks import Webhook

from penguin_hub.plugins.schemas import Capabilities

MAX_SCHEMA_BYTES: Final = 256 * 1024

# The methods of the Protocols in `penguin_hub_sdk.connectors`, with the number of their arguments after `self`.
METHODS: Final[Mapping[str, int]] = {"check": 0, "send": 1, "send_batch": 1, "deliver": 1}

# What a connector of the category must have besides `check`.
REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {"email": ("send",)}


class ContractBroken(Exception):
    """The text says which promise is not kept, for the plugin's author."""


class Checked(msgspec.Struct, frozen=True):
    """What is known of a plugin that keeps the contract."""

    capabilities: Capabilities
    methods: frozenset[str]
    config_schema: dict[str, Any]
    secrets: frozenset[str]


def checked(plugin_id: str, value: object) -> Checked:
    """Raises ContractBroken; a value that fights back may raise anything."""
    # Exactly the class of the contract: a subclass could answer differently each time it is asked.
    if type(value) is not Plugin:
        raise ContractBroken(f"hub_plugin returned {type(value).__name__}, not penguin_hub_sdk.Plugin.")
    manifest = _manifest(plugin_id, value.manifest)
    secrets, schema = _config(value.config, sandbox=manifest.sandbox)
    methods = _connector(value.connect, manifest)
    if value.webhook is not None:
        _webhook(value.webhook)
    _errors(value.errors)
    capabilities = Capabilities(
        sends_email="send" in methods,
        batch=manifest.batch if "send_batch" in methods else 1,
        destination="deliver" in methods,
        webhook=value.webhook is not None,
    )
    return Checked(capabilities, methods, schema, secrets)


def _manifest(plugin_id: str, manifest: object) -> Manifest:
    if type(manifest) is not Manifest:
        raise ContractBroken("Plugin.manifest is not a Manifest: use Manifest.load(__package__).")
    try:
        manifests.checked(manifest)
    except ManifestInvalid as error:
        raise ContractBroken(f"The manifest is not valid: {error}") from error
    if manifest.id != plugin_id:
        raise ContractBroken(f"The manifest's id is {manifest.id!r} and the entry point's name {plugin_id!r}.")
    return manifest


def _config(config: object, *, sandbox: bool) -> tuple[frozenset[str], dict[str, Any]]:
    if not (isinstance(config, type) and issubclass(config, Config)):
        raise ContractBroken("Plugin.config is not a subclass of Config.")
    if not config.__struct_config__.frozen or not config.__struct_config__.forbid_unknown_fields:
        raise ContractBroken("Plugin.config must stay frozen and refuse unknown fields, as its base does.")
    secrets = configs.secret_fields(config)
    for field in msgspec.structs.fields(config):
        if _holds_secret(field.type) and not _is_secret(field.type):
            raise ContractBroken(f"config.{field.name}: a secret is a field of its own, `Secret` or `Secret | None`.")
        if field.encode_name != field.name:
            raise ContractBroken(f"config.{field.name}: fields are not renamed.")
    schema = configs.json_schema(config)
    if len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
        raise ContractBroken("The JSON Schema of config is too large.")
    if sandbox:
        configs.decode(config, {})
    return secrets, schema


def _connector(connect: object, manifest: Manifest) -> frozenset[str]:
    if not callable(connect):
        raise ContractBroken("Plugin.connect is not callable: give the connector's class.")
    kind = connect if isinstance(connect, type) else _promised(connect)
    if not isinstance(kind, type):
        raise ContractBroken("Plugin.connect is neither a class nor a function annotated with the class it returns.")
    methods = frozenset(name for name in METHODS if inspect.getattr_static(kind, name, None) is not None)
    required = {"check", *REQUIRED.get(manifest.category, ()), *(("send_batch",) if manifest.batch > 1 else ())}
    if missing := sorted(required - methods):
        raise ContractBroken(f"{kind.__name__} has no {missing[0]}(), which {manifest.category} connectors must have.")
    for name in methods:
        method = getattr(kind, name)
        if not inspect.iscoroutinefunction(method):
            raise ContractBroken(f"{kind.__name__}.{name} is not `async def`.")
        try:
            inspect.signature(method).bind(*[None] * (1 + METHODS[name]))
        except TypeError as error:
            raise ContractBroken(
                f"{kind.__name__}.{name} takes other arguments than the contract gives: {error}."
            ) from error
    return methods


def _promised(connect: Callable[..., Any]) -> object:
    try:
        return get_type_hints(connect).get("return")
    except (NameError, TypeError, AttributeError):
        return None


def _webhook(webhook: object) -> None:
    if type(webhook) is not Webhook:
        raise ContractBroken("Plugin.webhook is not a Webhook.")
    if not callable(getattr(webhook.verify, "verify", None)):
        raise ContractBroken("Webhook.verify is not a verifier.")
    for name in ("normalise", "answer", "key"):
        function = getattr(webhook, name)
        if function is None and name != "normalise":
            continue
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise ContractBroken(f"Webhook.{name} is not a plain function.")


def _errors(errors: object) -> None:
    if not isinstance(errors, Mapping):
        raise ContractBroken("Plugin.errors is not a mapping of status to error.")
    for status, kind in errors.items():
        if not (isinstance(status, int) and isinstance(kind, type) and issubclass(kind, PluginError)):
            raise ContractBroken(f"Plugin.errors: {status!r} does not map a status to a subclass of PluginError.")


def _is_secret(annotation: Any) -> bool:
    """`Secret` itself, annotated or optional: nothing that only contains one."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_secret(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return all(member is NoneType or _is_secret(member) for member in get_args(annotation))
    return annotation is Secret


def _holds_secret(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return any(_holds_secret(field.type) for field in msgspec.structs.fields(annotation))
    return annotation is Secret or any(map(_holds_secret, get_args(annotation)))
