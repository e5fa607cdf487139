"""A task that kills whoever touches it."""

import asyncio

from penguin_hub.platform.db import owner
from support.checker import snapshot
from support.town import Town


async def test_w29_a_request_that_kills_its_worker_is_parked_and_the_queue_goes_on(town: Town) -> None:
    """Its neighbours, claimed with it each time, are not taken for poison; once it is mended it can be redriven."""
    (tenant,) = await town.settle(1, ["ok"], postmark=True)
    async with town.workers("w"), town.cluster.reviving():
        mails = [await town.producer.do("email", tenant) for _ in range(2)]
        made = [await town.producer.send(tenant) for _ in range(8)]
        town.cluster.poison.write_text(made[2][1])
        await asyncio.gather(*(town.producer.report(tenant, email, op) for op, email in made))
        async with asyncio.timeout(60), owner(town.cluster.settings.database_url) as connection:
            while await connection.fetchval("SELECT count(*) FROM inbound_requests WHERE state = 'pending'"):
                await asyncio.sleep(0.1)
            rows = await connection.fetch(
                "SELECT id, state, error, attempts FROM inbound_requests WHERE tenant_id = $1 ORDER BY state", tenant.id
            )
        parked = [row for row in rows if row["state"] == "parked"]
        assert len(parked) == 1, [tuple(row) for row in rows]
        assert "did not end" in parked[0]["error"]

        town.cluster.poison.unlink()
        await town.producer.must("POST", f"/api/v1/inbound/{parked[0]['id']}/reprocess", tenant.live_key)
        # Each of its attempts but the last, which only parked it, was a death.
        report = await town.judged(20, faults=parked[0]["attempts"] - 1)
    assert report.is_clean, str(report)
    state = await snapshot(town.cluster.settings.database_url, [tenant])
    told = sum(event.type == "email.delivered" for event in state.events.values())
    assert told == len(made) + len(mails)
