"""What a signed-in user may do, by role. Scopes are those of API keys."""

from typing import Final, Literal

from penguin_hub.http.guards import SCOPES

Role = Literal["owner", "admin", "member"]

ADMIN: Final = frozenset({"owner", "admin"})
"""Manage keys and connections. Making a key that may do the same is for owners alone."""

SCOPES_OF: Final[dict[str, frozenset[str]]] = {
    "owner": frozenset(SCOPES),
    "admin": frozenset(SCOPES),
    # The daily work on messages; not where they go (webhooks) and in whose name (domains).
    "member": frozenset(SCOPES) - {"manage_webhooks", "manage_domains"},
}
