"""Fixtures for every test package of the workspace's own `tests/`.

Anything that needs PostgreSQL or Valkey starts them once per session; a test that asks for `settings` or `database`
gets a migrated database of its own (40 ms), and an emptied Valkey.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from penguin_hub import settings as settings_module
from penguin_hub.migrate import migrate
from penguin_hub.platform.db import Database
from penguin_hub.platform.redis import Redis
from penguin_hub.settings import Settings
from support import hub as hubs
from support import servers as support
from support.hub import Hub
from support.servers import Servers


@pytest_asyncio.fixture(scope="session")
async def servers() -> AsyncIterator[Servers]:
    """PostgreSQL and Valkey (or Redis), with a migrated database to copy."""
    async with support.running() as found:
        url = await support.create_empty(found, support.TEMPLATE)
        await migrate(settings_module.build({}, data=Path(), database_url=url, redis_url=found.redis_url))
        yield found


@pytest_asyncio.fixture
async def settings(servers: Servers, tmp_path: Path) -> AsyncIterator[Settings]:
    """Development settings on a database of this test's own."""
    await support.flush(servers)
    async with support.fresh_database(servers) as url:
        yield settings_module.build(
            {"PENGUIN_DESTINATION_ALLOW": "127.0.0.1/32"}, data=tmp_path, database_url=url, redis_url=servers.redis_url
        )


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings.database_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    client = Redis(settings.redis_url)
    yield client
    await client.close()


StartHub = Callable[..., Hub]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path for a hub's data (tmp_path is long, and its sockets would be elsewhere)."""
    made = Path(tempfile.mkdtemp(prefix="penguin-test-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def start_hub(folder: Path) -> Iterator[StartHub]:
    """Starts hubs (`start_hub()`, `start_hub(data=..., extra={...})`) and ends them after the test."""
    with ExitStack() as stack:

        def start(data: Path | None = None, *, extra: Mapping[str, str] | None = None, **options: int) -> Hub:
            data = data or folder / "hub"
            urls = support.given_to_hub(data)
            return stack.enter_context(hubs.running(data, extra={**urls, **(extra or {})}, **options))

        yield start


@pytest.fixture
def start_embedded_hub(folder: Path) -> Iterator[StartHub]:
    """Likewise, with its own PostgreSQL and Valkey also where the suite runs against servers by URL."""
    with ExitStack() as stack:

        def start(data: Path | None = None, **options: int) -> Hub:
            return stack.enter_context(hubs.running(data or folder / "hub", **options))

        yield start


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    """One hub for all tests that only speak to it and leave it whole."""
    made = Path(tempfile.mkdtemp(prefix="penguin-test-"))
    with hubs.running(made / "hub", extra=support.given_to_hub(made / "hub")) as running:
        yield running
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def vendor_specs() -> Path:
    """Recorded specifications of providers, which lie beside the project; a test without them is skipped."""
    folder = Path(os.environ.get("PENGUIN_VENDOR_SPECS", Path(__file__).parents[2] / "shared" / "vendor-specs"))
    if not folder.is_dir():
        pytest.skip(f"no providers' specifications at {folder}: set PENGUIN_VENDOR_SPECS")
    return folder


# Tests that kill real processes and watch the clock. On a machine that is busy with something else one of them may be
# too late once; it is run a second time then, which the summary shows (RERUN), and must pass.
_AGAINST_THE_CLOCK = ("tests/faults/", "tests/flows/", "tests/integration/runtime/", "tests/integration/delivery/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(_AGAINST_THE_CLOCK):
            item.add_marker(pytest.mark.flaky(reruns=1))
