"""What may go wrong with contacts."""

from penguin_hub.platform.errors import Conflict, NotFound, PreconditionFailed


class ContactNotFound(NotFound):
    code = "contact_not_found"


class ContactExists(Conflict):
    """The tenant has a contact with this address; `contact_id` names it."""

    code = "contact_exists"


class ContactChanged(PreconditionFailed):
    code = "contact_changed"
