"""What publishing and reading events may raise."""

from penguin_hub.http.bodies import TooLarge
from penguin_hub.platform.errors import Conflict, NotFound


class EventNotFound(NotFound):
    code = "event_not_found"


class DuplicateEvent(Conflict):
    """The tenant has used this id for an event before."""

    code = "duplicate_event"


class EventTooLarge(TooLarge):
    """One event's `data` is larger than a delivery may carry."""

    code = "event_too_large"
