"""Slack's own description of its API, where it is at hand. It is test data of others and no part of the project."""

import json
import os
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def description() -> dict[str, Any]:
    beside = Path(__file__).parents[3].parent / "shared" / "vendor-specs"
    file = Path(os.environ.get("PENGUIN_VENDOR_SPECS") or beside) / "slack" / "slack_web_openapi3.trimmed.json"
    if not file.is_file():
        pytest.skip(f"Slack's API description is not at {file}: set PENGUIN_VENDOR_SPECS")
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found
