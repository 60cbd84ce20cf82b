"""The broker's promises, with real files and no Ray: it is a plain class with async methods."""

import asyncio
import math
from dataclasses import replace

import pytest

from search import broker as broker_module
from search.broker import Broker, Curve, Settings
from search.plan import Plan
from search.proposal import Proposal
from search.space import load
from search.store import StageStore
from trainables.job import Lease
from trainables.spec import Runtime, StageSpec

RESULT = {
    "lr": 0.1,
    "seconds": 1.0,
    "device": "cpu",
    "balanced_accuracy": 50.0,
    "ci_low": 45.0,
    "ci_high": 55.0,
}


@pytest.fixture
def plan():
    space = load("isic3", ["data=demo", "profile=smoke", "lr_policy=full_range"])
    return Plan(space, "digest")


@pytest.fixture
def halving(plan):
    ranges = {name: (0.01, 0.03, 0.1, 0.3) for name in plan.space.tasks}
    tasks = {n: replace(t, lr_range=ranges[n]) for n, t in plan.space.tasks.items()}
    return replace(plan, space=replace(plan.space, lr_policy="halving", tasks=tasks))


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


def test_a_later_stage_tries_what_its_single_chose_and_the_neighbours(settings, halving):
    specs = {}

    def keep(job):
        specs[job.key] = job.spec
        return ""

    _, jobs, _ = run(settings, halving, ["odc>moco"], keep)
    ranges = [
        (spec.pretext, spec.parent is None, spec.training.lr.range)
        for spec in (specs[key] for key in jobs)
        if isinstance(spec, StageSpec)
    ]
    whole = (0.01, 0.03, 0.1, 0.3)
    assert ranges == [
        ("moco", True, whole),  # for its choice, 0.1
        ("odc", True, whole),
        ("moco", False, (0.03, 0.1, 0.3)),
    ]


def test_after_a_failed_single_the_whole_range_is_tried(settings, halving):
    def fails(job):
        spec = job.spec
        alone = isinstance(spec, StageSpec) and spec.pretext == "moco" and spec.parent is None
        return "collapsed" if alone else ""

    answers, _, _ = run(settings, halving, ["odc>moco", "moco"], fails)
    assert answers[0] == (50.0, "")
    assert math.isnan(answers[1][0])
    store = StageStore(settings.store)
    stages = replace(halving, chosen=store.rate).stages(Proposal.parse("odc>moco"))
    assert stages[1].training.lr.range == (0.01, 0.03, 0.1, 0.3)
    assert store.manifest(stages[1].key())


async def lease_score(broker, group="g"):
    """Finish the stages of what is asked; the lease of the score that follows."""
    while True:
        lease = await broker.lease(group)
        if not isinstance(lease.job.spec, StageSpec):
            return lease
        broker.finish(group, lease.number, RESULT)


def epochs(broker, lease, *values, group="g"):
    """The group's report after an epoch; whether it may end the job."""
    return broker.heartbeat(group, lease.number, {"curve": list(values), "epochs": 5})


ODC = Proposal(("odc",))


def test_every_epoch_is_news_and_the_score_comes_last(settings, plan):
    async def main():
        broker = Broker(plan, settings)
        first = asyncio.create_task(broker.follow(ODC))
        lease = await lease_score(broker)
        assert not epochs(broker, lease, 30.0)
        assert not epochs(broker, lease, 30.0)  # a second attempt, at what is known
        assert not epochs(broker, lease, 30.0, 41.0)
        broker.finish("g", lease.number, RESULT)
        return [await first, await broker.follow(ODC), await broker.follow(ODC)]

    assert asyncio.run(main()) == [Curve((30.0,), 5), Curve((30.0, 41.0), 5), (50.0, "")]


def test_a_dropped_score_frees_its_group_and_leaves_nothing_finished(settings, plan):
    async def main():
        broker = Broker(plan, settings)
        follower = asyncio.create_task(broker.follow(ODC))
        lease = await lease_score(broker)
        epochs(broker, lease, 30.0)
        await follower
        await broker.drop(ODC, "after epoch 1")
        assert epochs(broker, lease, 30.0, 31.0)  # the answer: nobody wants it
        broker.end("g", lease.number)
        other = asyncio.create_task(broker.follow(Proposal(("scratch",))))
        following = await broker.lease("g")
        other.cancel()
        assert isinstance(following, Lease)
        return lease.job.key, broker.status()

    key, status = asyncio.run(main())
    assert StageStore(settings.store).manifest(key) is None
    assert status["chains"]["odc"] == {"state": "stopped", "reason": "after epoch 1"}
    assert status["leased"] > 0


def test_a_dropped_score_whose_group_dies_is_not_tried_again(settings, plan, monkeypatch):
    monkeypatch.setattr(broker_module, "IDLE_SECONDS", 0.05)

    async def main():
        broker = Broker(plan, settings)
        asked = asyncio.create_task(broker.score(ODC))
        await lease_score(broker)
        await broker.drop(ODC, "hopeless")
        assert await broker.lease("g") is None  # it came back
        return await asked

    accuracy, reason = asyncio.run(main())
    assert math.isnan(accuracy)
    assert reason == "hopeless"


def test_a_score_that_waits_for_another_attempt_is_dropped_at_once(settings, plan, monkeypatch):
    monkeypatch.setattr(broker_module, "IDLE_SECONDS", 0.05)

    async def main():
        broker = Broker(plan, settings)
        asked = asyncio.create_task(broker.score(ODC))
        lease = await lease_score(broker)
        await broker.fail("g", lease.number, "its worker died", False, "")
        await broker.drop(ODC, "hopeless")
        assert await broker.lease("g") is None
        return await asked

    assert asyncio.run(main())[1] == "hopeless"


def test_a_score_that_was_finished_meanwhile_is_kept(settings, plan):
    async def main():
        broker = Broker(plan, settings)
        asked = asyncio.create_task(broker.score(ODC))
        lease = await lease_score(broker)
        await broker.drop(ODC, "hopeless")
        broker.finish("g", lease.number, RESULT)
        await asked
        return lease.job.key

    assert StageStore(settings.store).manifest(asyncio.run(main()))["result"] == RESULT


def test_what_one_chain_drops_another_that_waits_for_it_gets(settings, plan, monkeypatch):
    """Windows with the same rates have the same score."""
    monkeypatch.setattr(broker_module, "LOCK_SECONDS", 0.01)
    narrow = {n: replace(t, lr_range=(0.1,)) for n, t in plan.space.tasks.items()}
    plan = replace(plan, space=replace(plan.space, tasks=narrow))
    twin = Proposal(("odc",), (("odc", "low"),))
    assert plan.downstream(twin).key() == plan.downstream(ODC).key()

    async def main():
        broker = Broker(plan, settings)
        asked = asyncio.create_task(broker.score(ODC))
        lease = await lease_score(broker)
        waits = asyncio.create_task(broker.score(twin))
        await asyncio.sleep(0)
        await broker.drop(ODC, "hopeless")
        broker.end("g", lease.number)
        again = await lease_score(broker)
        assert again.job.key == lease.job.key
        broker.finish("g", again.number, RESULT)
        return await asked, await waits

    dropped, kept = asyncio.run(main())
    assert dropped[1] == "hopeless"
    assert kept == (50.0, "")


def test_a_group_whose_lease_is_not_its_own_any_more_may_end(settings, plan):
    async def main():
        broker = Broker(plan, settings)
        asked = asyncio.create_task(broker.score(ODC))
        late = await broker.lease("g")
        await broker.lease("g")
        ended = broker.heartbeat("g", late.number, {"step": 3})
        asked.cancel()
        return ended

    assert asyncio.run(main())


def test_after_an_interrupt_what_is_in_work_ends_soon(settings, plan):
    async def main():
        broker = Broker(plan, settings)
        asked = asyncio.create_task(broker.score(ODC))
        lease = await broker.lease("g")
        assert isinstance(lease.job.spec, StageSpec)
        assert not broker.heartbeat("g", lease.number, {"step": 1})
        await broker.stop()
        assert broker.heartbeat("g", lease.number, {"step": 2})
        broker.end("g", lease.number)  # it has left a checkpoint
        assert await broker.lease("g") == "stop"
        return await asked

    accuracy, reason = asyncio.run(main())
    assert math.isnan(accuracy)
    assert reason == "interrupted"
