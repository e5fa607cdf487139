"""`quality.toml`: what the author has done about each rule, so that nobody has to guess."""

from pathlib import Path
from typing import Final, Literal

import msgspec

RULES: Final = {
    "settings-described": "Every setting has a title, and says where the tenant finds its value.",
    "credential-checked": "check() proves the credential with the cheapest call that needs it.",
    "errors-mapped": "The provider's own codes become the SDK's errors, with what the tenant must do.",
    "repeat-safe": "A repeated call has no second effect, or the README says why it may have one.",
    "limits-declared": "The manifest's limits are the provider's, with their source.",
    "requests-recorded": "Golden requests lie in tests/fixtures and were read.",
    "payloads-recorded": "Webhook payloads in tests/fixtures come from the provider or its documentation.",
    "webhooks-verified": "The provider's proof is checked, and a missing secret refuses.",
    "events-normalised": "Every kind of event the provider documents has a word of ours, or is kept as unknown.",
    "setup-documented": "The README says how to set up, which scopes it takes, its limits, and how to remove it.",
}


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    status: Literal["done", "todo", "exempt"]
    reason: str


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: dict[str, Literal["done", "todo"] | Note]


def read(file: Path) -> Quality:
    """Raises msgspec.DecodeError with the key at fault, OSError."""
    return msgspec.toml.decode(file.read_bytes(), type=Quality)
