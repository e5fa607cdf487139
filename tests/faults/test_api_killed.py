"""The API dies between the commit and everything that comes after it."""

from support.checker import snapshot
from support.producer import Kind
from support.town import Town


async def test_w23_an_event_whose_api_died_right_after_the_commit_is_delivered(town: Town) -> None:
    """Nobody rang for the workers and nobody was answered; the row is there, and that is enough."""
    (tenant,) = await town.settle(1, ["ok", "ok"])
    await town.cluster.work("w")
    town.cluster.arm("api.committed")
    town.producer.log.tried["w23"] = ("event", tenant.id)
    status, _ = await town.producer.ask("POST", *town.producer.request("w23", "event", tenant))
    assert status is None, "the client was answered: the process did not die before the answer"
    await town.cluster.died("api-1", "api-2")
    await town.sink.until(lambda sink: len(sink.copies) == 2, 10)
    report = await town.judged(10, faults=0)
    assert report.is_clean, str(report)
    assert [len(town.sink.of(tenant.id, name)) for name in ("ok", "ok2")] == [1, 1]


async def test_a17_retries_after_the_api_died_between_commit_and_answer_have_one_effect(town: Town) -> None:
    """An event, a batch of five and a message: the retry gets the answer that the dead process could not give."""
    (tenant,) = await town.settle(1, ["ok"])
    kinds: tuple[Kind, ...] = ("event", "batch", "email")
    async with town.workers("w"), town.cluster.reviving():
        for kind in kinds:
            town.cluster.arm("api.committed")
            broken = town.producer.log.answers["broken"]
            accepted = await town.producer.do(kind, tenant)
            assert accepted is not None
            assert town.producer.log.answers["broken"] > broken, f"{kind}: the first try was answered"
            assert not list(town.cluster.armed.iterdir()), f"{kind}: nobody died"
            again = await town.producer.persist(*town.producer.request(accepted.op, kind, tenant), accepted.op, 20)
            assert town.producer.ids(kind, again) == accepted.ids
        report = await town.judged(20, faults=0)
    assert report.is_clean, str(report)
    state = await snapshot(town.cluster.settings.database_url, [tenant])
    assert sum(event.type == "order.placed" for event in state.events.values()) == 6
    assert len(state.emails) == 1
