"""A delivery's id is made from its event's and its endpoint's: the event's time and number, then the endpoint's tail.

So the pair (event, endpoint) has one delivery and never two, whatever repeats the work; all deliveries of an event
stand beside each other in the primary key; and a delivery falls into the same day's partition as its event. The tails
of a tenant's endpoints differ (a unique index sees to it).
"""

TAIL = 6
"""Characters of the endpoint's id. The 20 of the event's that remain hold its time and its whole counter."""


def delivery_id(event_id: str, endpoint_id: str) -> str:
    """`dlv_...` for an event and an endpoint."""
    return f"dlv_{event_id[4:-TAIL]}{endpoint_id[-TAIL:]}"


def deliveries_of(event_id: str) -> tuple[str, str]:
    """The lowest and highest id that a delivery of this event can have, both included."""
    stem = f"dlv_{event_id[4:-TAIL]}"
    return stem + "0" * TAIL, stem + "v" * TAIL
