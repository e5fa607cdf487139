"""Random rounds of faults, each judged by the checker.

    poe faults                          50 rounds with a new seed
    poe faults --rounds 5 --seed 7      the faults of another run again (their timing is the machine's)
    poe faults --real-leases            workers with the leases of production: a minute to drain instead of seconds

A round is load of every kind on two API processes and three workers while something is broken every second or so, then
the wait until nothing is left to do, then the judgement. The exit code is 1 when a round was not clean.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from penguin_hub.platform import logging

from support.checker import Report
from support.cluster import LEASE
from support.part import POINTS
from support.town import Town, founded

SECONDS = 10.0
RATE = 60.0
WORKERS = ("w1", "w2", "w3")
ENDPOINTS = ("ok", "ok", "slow", "flaky", "dead")
REAL_DRAIN_SECONDS = 90.0
Fault = Callable[[Town, random.Random], Awaitable[None]]


async def _kill_worker(town: Town, chance: random.Random) -> None:
    town.cluster.kill(chance.choice(WORKERS))


async def _kill_api(town: Town, chance: random.Random) -> None:
    town.cluster.kill(chance.choice([name for name in town.cluster.parts if name.startswith("api-")]))


async def _die_at_a_line(town: Town, chance: random.Random) -> None:
    town.cluster.arm(chance.choice(list(POINTS)))


async def _crash_postgres(town: Town, _: random.Random) -> None:
    await town.cluster.crash_postgres()


async def _flush_valkey(town: Town, _: random.Random) -> None:
    await town.cluster.flush_valkey()


async def _empty_valkey(town: Town, _: random.Random) -> None:
    await town.cluster.empty_valkey()


# What may happen, and how often in proportion.
FAULTS: dict[str, tuple[Fault, int]] = {
    "kill worker": (_kill_worker, 6),
    "kill api": (_kill_api, 2),
    "die at a line": (_die_at_a_line, 6),
    "crash postgres": (_crash_postgres, 2),
    "flush valkey": (_flush_valkey, 2),
    "empty valkey": (_empty_valkey, 2),
}


@dataclass(frozen=True)
class Round:
    seed: int
    report: Report
    faults: Counter[str]
    answers: Counter[str]
    drained: float
    """Seconds."""


async def play(town: Town, seed: int, *, seconds: float = SECONDS, real_leases: bool = False) -> Round:
    """One round with tenants of its own."""
    chance = random.Random(seed)
    await town.settle(3, ENDPOINTS, postmark=True)
    done: Counter[str] = Counter()
    await town.cluster.work(*WORKERS, lease=None if real_leases else LEASE)
    try:
        async with town.cluster.reviving():
            async with town.under_load(RATE):
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    await asyncio.sleep(chance.uniform(0.3, 1.5))
                    name = chance.choices(list(FAULTS), [weight for _, weight in FAULTS.values()])[0]
                    await FAULTS[name][0](town, chance)
                    done[name] += 1
                town.cluster.disarm()
            # Deaths at a line are not counted by the cluster.
            deaths = town.faults + done["die at a line"]
            report = await town.judged(REAL_DRAIN_SECONDS if real_leases else 45.0, faults=deaths)
    finally:
        await town.cluster.remove(*WORKERS)
    return Round(seed, report, done, town.producer.log.answers, town.seconds_to_drain)


async def main(count: int, seed: int, seconds: float, *, real_leases: bool) -> int:
    print(f"{count} rounds, --seed {seed}")
    print("round       seed  accepted  promised  delivered   dead  duplicates  drained  faults")
    totals: Counter[str] = Counter()
    unclean = 0
    async with founded(apis=2) as town:
        for number in range(1, count + 1):
            one = await play(town, seed + number - 1, seconds=seconds, real_leases=real_leases)
            report = one.report
            unclean += not report.is_clean
            totals.update(one.faults)
            for name in ("accepted", "promised", "delivered", "dead", "duplicates"):
                totals[name] += getattr(report, name)
            print(
                f"{number:5} {one.seed:10} {report.accepted:9} {report.promised:9} {report.delivered:10} "
                f"{report.dead:6} {report.duplicates:11} {one.drained:6.1f} s  "
                + ", ".join(f"{name} {times}" for name, times in sorted(one.faults.items()))
                + ("" if report.is_clean else f"\n  NOT CLEAN: {report}"),
                flush=True,
            )
            if not report.is_clean:
                kept = Path(tempfile.mkdtemp(prefix="penguin-round-")) / "hub.log"
                kept.write_text(town.cluster.text())
                print(f"  the hub's log: {kept}", flush=True)
    print(f"\n{count - unclean} of {count} rounds clean. " + ", ".join(f"{k} {v}" for k, v in sorted(totals.items())))
    return 1 if unclean else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of load in a round")
    parser.add_argument("--real-leases", action="store_true")
    given = parser.parse_args()
    logging.configure(json=True)
    sys.exit(asyncio.run(main(given.rounds, given.seed, given.seconds, real_leases=given.real_leases)))
