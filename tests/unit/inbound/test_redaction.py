"""Credentials are taken out of what is stored."""

import pytest
from penguin_hub.inbound.redaction import HIDDEN, headers, url


@pytest.mark.parametrize(
    "name", ["authorization", "cookie", "x-api-key", "x-auth-token", "x-shared-secret", "apikey", "proxy-authorization"]
)
def test_headers_that_are_credentials_are_hidden(name: str) -> None:
    assert headers([(name, "v")]) == [(name, HIDDEN)]


@pytest.mark.parametrize("name", ["content-type", "x-signature", "user-agent", "webhook-id", "x-monkey"])
def test_others_are_kept(name: str) -> None:
    assert headers([(name, "v")]) == [(name, "v")]


def test_a_url_loses_its_credentials_and_nothing_else() -> None:
    given = "https://user:pw@hub.example:8443/api/webhooks/x/cnx?a=1&access_token=t&empty="
    assert url(given) == f"https://hub.example:8443/api/webhooks/x/cnx?a=1&access_token={HIDDEN}&empty="
