"""Who is asking."""

from typing import Literal

import msgspec

Environment = Literal["live", "test"]


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller who has been authenticated. Tenant and scopes come from here and never from the request."""

    tenant: str
    workspace: str
    """The workspace that new things go to when the request names none."""
    actor: str
    """`key_...` or `usr_...`: who the audit log names."""
    scopes: frozenset[str]
    environment: Environment
    admin: bool
    """May manage keys and connections."""
    plan: str
