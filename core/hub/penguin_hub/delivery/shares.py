"""How many deliveries to claim for whom: in turns over tenants, then over their endpoints, then over lanes. Pure."""

from collections.abc import Sequence

import msgspec

# The lanes of one endpoint in turn: first attempts (those that keep an order too) more often than retries, these more
# often than replays.
_ORDER = (0, 3, 1, 0, 3, 2, 0, 3, 1, 0)


class Wish(msgspec.Struct, frozen=True):
    """Something due."""

    tenant: str
    endpoint: str
    lane: int


def share(wishes: Sequence[Wish], room: dict[str, int], capacity: int, turn: int) -> list[tuple[str, int, int]]:
    """(endpoint, lane, count) for a claim of at most `capacity`. `room` is what each endpoint can take.

    `turn` rotates who comes first when there is not enough for everybody.
    """
    by_tenant: dict[str, dict[str, list[int]]] = {}
    for wish in wishes:
        if room.get(wish.endpoint, 0) > 0:
            by_tenant.setdefault(wish.tenant, {}).setdefault(wish.endpoint, []).append(wish.lane)
    tenants = list(by_tenant)
    if not tenants or capacity <= 0:
        return []
    start = turn % len(tenants)
    tenants = tenants[start:] + tenants[:start]
    given: dict[str, int] = {}
    left = capacity
    # Two rounds: everybody's equal part, then what the modest ones left over.
    for last in (False, True):
        for index, tenant in enumerate(tenants):
            part = left if last else max(1, left // (len(tenants) - index))
            left -= _within_tenant(by_tenant[tenant], room, min(part, left), given, turn)
            if left <= 0:
                break
        if left <= 0:
            break
    return [
        (endpoint, lane, count)
        for endpoints in by_tenant.values()
        for endpoint, lanes in endpoints.items()
        for lane, count in _lanes(lanes, given.get(endpoint, 0), turn)
    ]


def _within_tenant(
    endpoints: dict[str, list[int]], room: dict[str, int], part: int, given: dict[str, int], turn: int
) -> int:
    names = list(endpoints)
    start = turn % len(names)
    used = 0
    for last in (False, True):
        for index, name in enumerate(names[start:] + names[:start]):
            fair = part - used if last else max(1, (part - used) // (len(names) - index))
            count = min(fair, room[name] - given.get(name, 0), part - used)
            if count > 0:
                given[name] = given.get(name, 0) + count
                used += count
            if used >= part:
                return used
    return used


def _lanes(lanes: list[int], count: int, turn: int) -> list[tuple[int, int]]:
    parts = dict.fromkeys(lanes, 0)
    order = [lane for lane in _ORDER if lane in parts]
    whole, rest = divmod(count, len(order))
    for lane in order:
        parts[lane] += whole
    for number in range(rest):
        parts[order[(turn + number) % len(order)]] += 1
    return [(lane, part) for lane, part in parts.items() if part]
