"""What pytest learns when the SDK is installed: `--update-fixtures`, and the payloads of a WebhookSuite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("penguin hub")
    group.addoption("--update-fixtures", action="store_true", help="write what plugins do now into their fixtures")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each recorded payload; a suite without any has a test that says so."""
    payloads = getattr(metafunc.cls, "payloads", None)
    if "payload" in metafunc.fixturenames and callable(payloads):
        metafunc.parametrize("payload", payloads(), ids=lambda file: file.stem)


@pytest.fixture
def update_fixtures(request: pytest.FixtureRequest) -> bool:
    """Whether fixtures are to be written instead of compared."""
    return bool(request.config.getoption("--update-fixtures"))
