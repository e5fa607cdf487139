"""What a tenant has paid for."""

from typing import Final, Literal

import msgspec

PlanId = Literal["starter", "pro", "enterprise"]


class Plan(msgspec.Struct, frozen=True):
    requests_per_minute: int
    """For each key; all keys of the tenant together may use five times as many."""


PLANS: Final[dict[str, Plan]] = {
    "starter": Plan(requests_per_minute=60),
    "pro": Plan(requests_per_minute=300),
    "enterprise": Plan(requests_per_minute=1000),
}
