"""Ports are asked for before anything is started."""

import socket

import pytest
from penguin_hub.platform.embedded import StartupError
from penguin_hub.runtime import ports


def test_zero_is_a_free_port() -> None:
    port = ports.claim("127.0.0.1", 0)
    assert 0 < port <= 65535
    assert ports.claim("127.0.0.1", port) == port


def test_a_port_that_shares_is_in_use_all_the_same() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(StartupError, match="is in use"):
            ports.claim("127.0.0.1", other.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("203.0.113.1", 0, "--host"),
        ("no such host", 0, "--host"),
        ("127.0.0.1", 65536, "--port"),
        ("127.0.0.1", -1, "--port"),
    ],
)
def test_what_cannot_be_listened_on_is_named(host: str, port: int, words: str) -> None:
    with pytest.raises(StartupError, match=words):
        ports.claim(host, port)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 -- nothing is bound
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("hub.example", "http://hub.example:80"),
    ],
)
def test_the_url_is_one_that_this_machine_reaches(host: str, url: str) -> None:
    assert ports.base_url(host, 80) == url
