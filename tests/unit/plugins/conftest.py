"""A folder of throw-away plugins for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.distributions import Site, site


@pytest.fixture
def plugins_folder(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "site") as made:
        yield made
