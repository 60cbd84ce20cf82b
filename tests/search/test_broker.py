"""The broker's promises, with real files and no Ray: it is a plain class with async methods."""

import asyncio
import math
from dataclasses import replace

import pytest

from search import broker as broker_module
from search.broker import Broker, Settings
from search.plan import Plan
from search.proposal import Proposal
from search.space import load
from search.store import StageStore
from trainables.job import Lease
from trainables.spec import Runtime, StageSpec

RESULT = {
    "seconds": 1.0,
    "device": "cpu",
    "balanced_accuracy": 50.0,
    "ci_low": 45.0,
    "ci_high": 55.0,
}


@pytest.fixture
def plan():
    space = load("isic3", ["data=demo", "profile=smoke"])
    return Plan(space, "digest")


@pytest.fixture
def settings(tmp_path):
    return Settings(str(tmp_path / "store"), None, str(tmp_path / "cache"), None, Runtime(), 2)


async def serve(broker, group, jobs, spoil=lambda job: ""):
    """A worker group that finishes everything at once, writing nothing."""
    while True:
        lease = await broker.lease(group)
        if lease == "stop":
            return
        if lease is None:
            continue
        jobs.append(lease.job.key)
        if reason := spoil(lease.job):
            await broker.fail(group, lease.number, reason, True, "")
        else:
            broker.finish(group, lease.number, RESULT)


def run(settings, plan, texts, spoil=lambda job: "", groups=2):
    """Ask for all chains at once; the answers and the keys of the jobs done."""

    async def main():
        broker, jobs = Broker(plan, settings), []
        crew = [asyncio.create_task(serve(broker, f"g{i}", jobs, spoil)) for i in range(groups)]
        answers = await asyncio.gather(*(broker.score(Proposal.parse(text)) for text in texts))
        await broker.stop()
        await asyncio.gather(*crew)
        return answers, jobs, broker.status()

    return asyncio.run(main())


def test_equal_stages_are_trained_once_whoever_asks(settings, plan):
    texts = ["odc>moco", "odc>moco", "odc", "odc>relative_location", "odc>moco>relative_location"]
    answers, jobs, status = run(settings, plan, texts)
    assert [accuracy for accuracy, _ in answers] == [50.0] * 5
    assert len(jobs) == len(set(jobs)) == 4 + 4  # stages of the tree, scores of the chains
    assert status["stages_trained"] == 4


def test_a_second_broker_reuses_the_store(settings, plan):
    run(settings, plan, ["odc>moco"])
    answers, jobs, status = run(settings, plan, ["odc>moco", "odc"])
    assert [accuracy for accuracy, _ in answers] == [50.0, 50.0]
    assert len(jobs) == 1  # the score of odc alone
    assert (status["stages_trained"], status["stages_reused"]) == (0, 2)


def test_two_brokers_on_one_store_train_a_stage_once(settings, plan, monkeypatch):
    monkeypatch.setattr(broker_module, "LOCK_SECONDS", 0.01)

    async def main():
        brokers, jobs = [Broker(plan, settings) for _ in range(2)], []
        crews = [asyncio.create_task(serve(b, "g", jobs)) for b in brokers]
        await asyncio.gather(*(b.score(Proposal.parse("odc>moco")) for b in brokers))
        for broker in brokers:
            await broker.stop()
        await asyncio.gather(*crews)
        return jobs

    jobs = asyncio.run(main())
    assert len(jobs) == len(set(jobs)) == 3


def test_a_broken_stage_fails_alone_with_its_reason(settings, plan):
    def spoil(job):
        return "loss is nan at step 3" if getattr(job.spec, "pretext", "") == "odc" else ""

    answers, _, status = run(settings, plan, ["moco", "odc", "odc>moco", "moco>odc"], spoil)
    assert answers[0] == (50.0, "")
    assert all(math.isnan(accuracy) for accuracy, _ in answers[1:])
    assert {reason for _, reason in answers[1:]} == {"loss is nan at step 3"}
    assert status["chains"]["odc"] == {"state": "failed", "reason": "loss is nan at step 3"}


def test_a_group_that_comes_back_goes_on_with_its_job_and_is_not_tried_for_ever(settings, plan):
    async def main():
        broker = Broker(plan, settings)
        asked = asyncio.create_task(broker.score(Proposal.parse("odc")))
        first = await broker.lease("g")
        second = await broker.lease("g")  # the group died and was started again
        assert first.job.key == second.job.key
        assert first.number != second.number
        broker.finish("g", first.number, RESULT)  # late: from before it died
        assert not asked.done()
        asyncio.get_running_loop().call_later(0.1, lambda: setattr(broker, "stopping", True))
        broker_module.IDLE_SECONDS, kept = 0.05, broker_module.IDLE_SECONDS
        try:
            assert await broker.lease("g") in (None, "stop")  # two attempts are the limit
        finally:
            broker_module.IDLE_SECONDS = kept
        return await asked

    accuracy, reason = asyncio.run(main())
    assert math.isnan(accuracy)
    assert reason == "its worker group died (gave up after 2 attempts)"


def test_a_silent_group_loses_its_lease_to_another(settings, plan, monkeypatch):
    monkeypatch.setattr(broker_module, "LEASE_SECONDS", 0.06)

    async def main():
        broker = Broker(plan, settings)
        watch = asyncio.create_task(broker.watch())
        asked = asyncio.create_task(broker.score(Proposal(("scratch",))))
        silent = await broker.lease("silent")
        other = await broker.lease("other")
        assert isinstance(other, Lease)
        assert other.job.key == silent.job.key
        broker.finish("other", other.number, RESULT)
        await broker.stop()
        await watch
        return await asked

    assert asyncio.run(main()) == (50.0, "")


def test_a_job_says_where_to_start_and_what_it_is(settings, plan):
    async def main():
        broker = Broker(plan, settings)
        asked = asyncio.create_task(broker.score(Proposal.parse("odc")))
        lease = await broker.lease("g")
        asked.cancel()
        return lease.job

    job = asyncio.run(main())
    assert isinstance(job.spec, StageSpec)
    assert job.parent_dir is None
    assert job.key == job.spec.key()
    assert job.out_dir.endswith(f"{job.key}.part")


def test_a_manifest_holds_the_specification_and_its_place(settings, plan):
    run(settings, plan, ["odc"])
    store = StageStore(settings.store)
    spec = plan.stages(Proposal.parse("odc"))[0]
    manifest = store.manifest(spec.key())
    assert manifest["spec"]["pretext"] == "odc"
    assert manifest["attempts"] == 1
    assert replace(spec, seed=1).key() != spec.key()
    assert store.verify() == []
