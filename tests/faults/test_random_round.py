"""A29 and all W cases of durability at once, by chance. `poe faults` plays fifty of these."""

import random

from support import rounds
from support.town import Town


async def test_a29_a_random_round_loses_nothing_and_mixes_nothing_up(town: Town) -> None:
    seed = random.randrange(10**9)
    print(f"poe faults --rounds 1 --seed {seed}")
    played = await rounds.play(town, seed, seconds=12)
    assert played.report.is_clean, str(played.report)
    assert played.report.accepted > 30, played
    assert played.drained < 60
