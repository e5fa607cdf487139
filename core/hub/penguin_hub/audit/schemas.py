"""The audit log as clients see it."""

from datetime import datetime
from typing import Any

import msgspec


class AuditEntry(msgspec.Struct, frozen=True):
    id: str
    at: datetime
    actor: str
    """`key_...`, `usr_...`, or `cli` for the command line."""
    action: str
    """What was done, such as `api_key.created`."""
    target: str | None
    """The id of what it was done to."""
    detail: dict[str, Any]
    ip: str | None
