"""What may go wrong with messages and suppressions.

HubError
├── NotFound
│   ├── EmailNotFound
│   └── SuppressionNotFound
└── Conflict
    └── SuppressionExists
"""

from penguin_hub.platform.errors import Conflict, NotFound


class EmailNotFound(NotFound):
    code = "email_not_found"


class SuppressionNotFound(NotFound):
    code = "suppression_not_found"


class SuppressionExists(Conflict):
    """`suppression_id` names the one that is there."""

    code = "suppression_exists"
