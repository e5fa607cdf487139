"""The one place that asks what time it is, so that a test can move the time."""

from datetime import UTC, datetime


def now() -> datetime:
    """The present moment, with its zone: UTC."""
    return datetime.now(UTC)
