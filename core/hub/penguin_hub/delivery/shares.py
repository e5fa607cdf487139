"""How many deliveries to claim for whom: in turns over tenants, then over their endpoints, then over lanes. Pure."""

from collections.abc import Sequence

import msgspec

# Of an endpoint's share, while several lanes have something due: first attempts, retries, replays.
_WEIGHTS = (4, 2, 1)


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
        for lane, count in _lanes(lanes, given.get(endpoint, 0))
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


def _lanes(lanes: list[int], count: int) -> list[tuple[int, int]]:
    lanes = sorted(lanes)
    if len(lanes) == 1 or count <= 1:
        return [(lanes[0], count)] if count else []
    weights = [_WEIGHTS[lane] for lane in lanes]
    parts = [max(1, count * weight // sum(weights)) for weight in weights]
    parts[0] = max(1, count - sum(parts[1:]))
    return [(lane, part) for lane, part in zip(lanes, parts, strict=True) if part > 0]
