"""The plugin as the hub sees it."""

import msgspec
import pytest
from penguin_hub_sdk.config import decode
from penguin_hub_sdk.testing import PluginSuite
from penguin_hub_smtp.settings import Settings

SERVER = {"host": "mail.example.com"}
LOGIN = {"username": "hub", "password": "s3cret"}


class TestPlugin(PluginSuite):
    package = "penguin_hub_smtp"
    config = {**SERVER, **LOGIN, "port": 587, "security": "starttls"}


def test_the_safe_way_is_the_usual_way() -> None:
    settings = decode(Settings, SERVER)
    assert (settings.port, settings.security, settings.username) == (587, "starttls", None)


@pytest.mark.parametrize(
    "values",
    [
        {**SERVER, "username": "hub"},
        {**SERVER, "password": "s3cret"},
        {**SERVER, **LOGIN, "security": "none"},
        {**SERVER, "security": "ssl"},
        {**SERVER, "port": 0},
        {"host": ""},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        decode(Settings, values)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_password_goes_in_the_clear_only_within_the_machine(host: str) -> None:
    assert decode(Settings, {"host": host, **LOGIN, "security": "none"}).password
