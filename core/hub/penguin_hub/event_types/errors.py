"""What the catalogue of event types may raise."""

from penguin_hub.platform.errors import Conflict, Invalid, NotFound


class EventTypeNotFound(NotFound):
    code = "event_type_not_found"


class EventTypeExists(Conflict):
    """The tenant has described this type before."""

    code = "event_type_exists"


class EventTypeReserved(Conflict):
    """The hub makes events of this type itself, and describes it."""

    code = "event_type_reserved"


class TooManyEventTypes(Conflict):
    """The tenant has described as many types as it may."""

    code = "too_many_event_types"


class SchemaNotAllowed(Invalid):
    """Not a JSON Schema 2020-12, or one that could cost more than a publish may."""

    code = "schema_not_allowed"


class DataInvalid(Invalid):
    """Published data does not fit the schema of its type."""

    code = "event_data_invalid"
