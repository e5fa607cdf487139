"""Imported before the suites, so that their assertions explain themselves in an editable install too."""

import pytest

_SUITES = ("connector", "context", "golden", "plugin", "recorder", "webhook")
pytest.register_assert_rewrite(*(f"penguin_hub_sdk.testing.{name}" for name in _SUITES))
