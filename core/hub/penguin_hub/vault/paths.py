"""Where a secret lies. The only place that builds a path, so that no caller can name another tenant's.

A caller gives its tenant and a path of its own, such as `api_keys/key_06f...`; the store keeps it under
`api_keys/ten_06f.../key_06f...`. The hub's own secrets belong to the tenant `system` and lie under `system/`.
"""

import re
from typing import Final

from penguin_hub.platform import ids

SYSTEM: Final = "system"
"""The tenant of the secrets that belong to the hub itself."""

# No segment may start with a dot, so `.` and `..` cannot be written; `|` separates the parts of what is authenticated.
_KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")
_DEPTH: Final = 8


def checked(tenant: str, path: str) -> str:
    """`path` itself. Raises ValueError for a tenant or a path that is not of the checked form."""
    if tenant != SYSTEM and not ids.is_id(tenant, "ten"):
        raise ValueError("not a tenant id")
    kind, *rest = path.split("/") if isinstance(path, str) else [""]
    if not _KIND.fullmatch(kind) or kind == SYSTEM or len(rest) >= _DEPTH:
        raise ValueError("not a secret path")
    if not all(_SEGMENT.fullmatch(segment) for segment in rest):
        raise ValueError("not a secret path")
    return path


def located(tenant: str, path: str) -> str:
    """The path inside the mount of a Vault. Raises ValueError as `checked` does."""
    kind, *rest = checked(tenant, path).split("/")
    return "/".join((SYSTEM, kind, *rest) if tenant == SYSTEM else (kind, tenant, *rest))
