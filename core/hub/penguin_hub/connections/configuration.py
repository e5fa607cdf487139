"""What a tenant fills in: decoded by the plugin's schema, and taken apart into what is secret and what is not."""

from collections.abc import Mapping
from typing import Any

import msgspec
from penguin_hub_sdk import config as configs
from penguin_hub_sdk.config import Config, Secret
from penguin_hub_sdk.errors import PluginError
from penguin_hub_sdk.hooks import Plugin

from penguin_hub.connections.errors import CheckFailed, PluginFailed
from penguin_hub.connections.schemas import Trouble
from penguin_hub.http.bodies import invalid
from penguin_hub.platform import ids
from penguin_hub.platform.errors import FieldError, HubError, Invalid
from penguin_hub.plugins.errors import PluginFault


class Parts(msgspec.Struct, frozen=True):
    """One configuration, taken apart."""

    plain: dict[str, Any]
    secret: dict[str, str]

    def __repr__(self) -> str:
        return f"Parts(plain={sorted(self.plain)}, secret={sorted(self.secret)})"


def decode(plugin: Plugin[Any], values: Mapping[str, Any]) -> Config:
    """Raises Invalid with pointers such as `#/config/api_key`."""
    try:
        config: Config = configs.decode(plugin.config, values)
    except msgspec.ValidationError as error:
        raise invalid(error, "/config") from None
    except Exception as error:  # The plugin's own `__post_init__`, which may only raise ValueError.
        raise Invalid.field("#/config", "invalid", "The plugin cannot read this configuration.") from error
    return config


def merged(values: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `change` over them; None takes a value away."""
    return {name: value for name, value in {**values, **change}.items() if name not in change or value is not None}


def parts(config: Config) -> Parts:
    """Taken apart by type, so that nothing that is a Secret can end up among what is shown."""
    plain: dict[str, Any] = {}
    secret: dict[str, str] = {}
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, Secret):
            secret[name] = value.reveal()
        elif name not in configs.secret_fields(type(config)):
            plain[name] = msgspec.to_builtins(value)
    return Parts(plain, secret)


def trouble(error: PluginError) -> Trouble:
    """A plugin's error as the API shows it."""
    return Trouble(
        kind=error.effect.kind,
        detail=error.detail,
        retryable=error.effect.retryable,
        code=error.code,
        field=error.field,
        incident=error.incident if isinstance(error, PluginFault) else ids.new("inc"),
    )


def refusal(error: PluginError, config: type[Config]) -> HubError:
    """Why a connection is not saved."""
    if isinstance(error, PluginFault):
        return PluginFailed(error.detail, incident=error.incident, retry_after=error.retry_after or 30)
    known = error.field in config.__struct_fields__
    pointer = f"#/config/{error.field}" if known else "#/config"
    return CheckFailed(
        error.detail,
        errors=(FieldError(pointer, error.effect.kind, error.detail),),
        kind=error.effect.kind,
        provider_code=error.code,
        retryable=error.effect.retryable,
    )
