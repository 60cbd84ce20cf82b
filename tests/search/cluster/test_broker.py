"""The broker's promises, with real files and no Ray: it is a plain class with async methods."""

import asyncio
import math
from collections import Counter
from dataclasses import asdict, replace

import pytest

from search.chains.node import Node
from search.chains.plan import Plan
from search.cluster import broker as broker_module
from search.cluster.broker import Broker
from search.results.status import ChainState, Curve, Probed, Scored
from search.space import load
from search.store.stage_store import StageStore
from tests.measures import scored
from trainables.spec import Runtime, Score, StageSpec
from trainables.workers.job import Fault, Heartbeat, Lease, Result

DONE = Result({"lr": 0.1, "seconds": 1.0, "device": "cpu"}, scored(50.0, 45.0, 55.0))


@pytest.fixture
def plan(tmp_path):
    places = [f"store={tmp_path / 'store'}", f"cache={tmp_path / 'cache'}", "runtime.attempts=2"]
    more = ["data=demo", "profile=smoke", "lr_policy=full_range", "probe=false", *places]
    space = load("isic3", more)
    return Plan(space, "digest")


async def serve(broker, group, jobs, spoil=lambda job: None):
    """A worker group that finishes everything at once, writing nothing."""
    while True:
        lease = await broker.lease(group)
        if lease == "stop":
            return
        if lease is None:
            continue
        jobs.append(lease.job.key)
        await broker.finish(group, lease.number, spoil(lease.job) or DONE)


def run(plan, texts, spoil=lambda job: None, groups=2):
    """Ask for all chains at once; the answers and the keys of the jobs done."""

    async def main():
        broker, jobs = Broker(plan), []
        shape = [asyncio.create_task(serve(broker, f"g{i}", jobs, spoil)) for i in range(groups)]
        answers = await asyncio.gather(*(broker.score(Node.parse(text)) for text in texts))
        await broker.stop()
        await asyncio.gather(*shape)
        return answers, jobs, broker.status()

    return asyncio.run(main())


def test_equal_stages_are_trained_once_whoever_asks(plan):
    texts = ["odc>moco", "odc>moco", "odc", "odc>relative_location", "odc>moco>relative_location"]
    answers, jobs, status = run(plan, texts)
    assert answers == [Scored(50.0)] * 5
    assert len(jobs) == len(set(jobs)) == 4 + 4  # stages of the tree, scores of the chains
    assert len(status.trained) == 4


def test_a_scored_chain_comes_with_its_measures_rates_and_seconds(plan):
    (baseline, chain, control), _, _ = run(plan, ["scratch", "odc>moco", "odc>odc"])
    measures = {"measures/balanced_accuracy": 50.0}
    assert baseline.found == {**measures, "seconds": 1.0}
    assert chain.found == {**measures, "lr/odc": 0.1, "lr/moco": 0.1, "seconds": 3.0}
    assert control.found == {**measures, "lr/odc": 0.1, "seconds": 3.0}


def test_a_second_broker_reuses_the_store(plan):
    run(plan, ["odc>moco"])
    answers, jobs, status = run(plan, ["odc>moco", "odc"])
    assert answers == [Scored(50.0)] * 2
    assert len(jobs) == 1  # the score of odc alone
    assert (len(status.trained), len(status.reused)) == (0, 2)


def test_two_brokers_on_one_store_train_a_stage_once(plan, monkeypatch):
    monkeypatch.setattr(broker_module, "LOCK_SECONDS", 0.01)

    async def main():
        brokers, jobs = [Broker(plan) for _ in range(2)], []
        crews = [asyncio.create_task(serve(b, "g", jobs)) for b in brokers]
        await asyncio.gather(*(b.score(Node.parse("odc>moco")) for b in brokers))
        for broker in brokers:
            await broker.stop()
        await asyncio.gather(*crews)
        return jobs

    jobs = asyncio.run(main())
    assert len(jobs) == len(set(jobs)) == 3


def test_a_broken_stage_fails_alone_with_its_reason(plan):
    def spoil(job):
        broken = job.spec.name == "odc"
        return Result(failed="loss is nan at step 3") if broken else None

    answers, _, status = run(plan, ["moco", "odc", "odc>moco", "moco>odc"], spoil)
    assert answers[0] == Scored(50.0)
    assert {(one.state, one.reason) for one in answers[1:]} == {("failed", "loss is nan at step 3")}
    assert status.chains["odc"] == ChainState("failed", "loss is nan at step 3")
    assert status.fault == ""


def test_a_group_that_comes_back_goes_on_with_its_job_and_is_not_tried_for_ever(plan):
    async def main():
        broker = Broker(plan)
        asked = asyncio.create_task(broker.score(Node.parse("odc")))
        first = await broker.lease("g")
        second = await broker.lease("g")  # the group died and was started again
        assert first.job.key == second.job.key
        assert first.number != second.number
        await broker.finish("g", first.number, DONE)  # late: from before it died
        assert not asked.done()
        assert await broker.lease("g") == "stop"  # two attempts are the limit
        return await asked, broker.status()

    scored, status = asyncio.run(main())
    assert (scored.state, math.isnan(scored.value)) == ("ended", True)
    assert status.fault == "odc: its worker group died (2 attempts without progress)"
    assert "failed" not in {one.state for one in status.chains.values()}


def test_attempts_that_got_further_are_not_counted(plan):
    """Spot machines may be taken away at any time; progress resets the count."""

    async def main():
        broker = Broker(plan)
        asked = asyncio.create_task(broker.score(ODC))
        for saved in (5, 5, 9, 9, 9):  # steps in the checkpoint as the group dies
            lease = await broker.lease("g")
            await broker.heartbeat("g", lease.number, Heartbeat("training", saved + 1, saved=saved))
        assert await broker.lease("g") == "stop"
        return await asked

    scored = asyncio.run(main())
    assert scored.reason.endswith("(2 attempts without progress)")


def test_a_fault_is_tried_in_another_group_and_is_no_result(plan):
    async def main():
        broker = Broker(plan)
        other = asyncio.create_task(broker.lease("other"))
        await asyncio.sleep(0)
        asked = asyncio.create_task(broker.score(Node.parse("scratch")))
        first = await other
        bad = asyncio.create_task(broker.lease("bad"))
        await asyncio.sleep(0)
        await broker.finish("other", first.number, Fault("no CUDA device"))
        second = await asyncio.wait_for(bad, 5)
        assert second.job.key == first.job.key
        await broker.finish("bad", second.number, DONE)
        return await asked, broker.status()

    scored, status = asyncio.run(main())
    assert scored == Scored(50.0)
    assert status.notices == ("scratch: no CUDA device; attempt 2 follows",)
    assert status.fault == ""


def test_a_fault_that_stays_ends_the_search_for_all_and_no_chain_fails(plan):
    answers, _, status = run(plan, ["odc", "moco"], lambda job: Fault("disk is full"))
    assert {one.state for one in answers} == {"ended"}
    assert status.fault.endswith("disk is full (2 attempts without progress)")
    assert "failed" not in {one.state for one in status.chains.values()}


def test_a_store_that_cannot_be_written_is_a_fault(plan, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StageStore, "commit", full)
    answers, _, status = run(plan, ["odc"])
    assert answers[0].state == "ended"
    assert "No space left on device" in status.fault


def test_a_damaged_parent_is_trained_again(plan):
    run(plan, ["odc"])
    store, (parent, _) = StageStore(plan.space.store), plan.stages(Node.parse("odc>moco"))
    met = []

    def spoil(job):
        if job.spec.inputs.get("backbone") == parent.key() and not met:
            met.append(job.key)
            (store.path(parent.key()) / "manifest.json").write_bytes(b"{bit rot")
            return Fault("header too large")
        return None

    answers, jobs, status = run(plan, ["odc>moco"], spoil)
    assert answers == [Scored(50.0)]
    assert jobs.count(parent.key()) == 1
    assert jobs.count(met[0]) == 2
    assert any(parent.key() in notice for notice in status.notices)


def test_a_dead_node_costs_no_lease(plan):
    async def main():
        broker = Broker(plan)
        asked = asyncio.create_task(broker.score(Node.parse("scratch")))
        lost = await broker.lease("g", ["n1", "n2"])
        await broker.nodes_died({"n3"})
        assert not broker.queue
        await broker.nodes_died({"n2"})
        again = await broker.lease("other", ["n1"])
        assert again.job.key == lost.job.key
        await broker.finish("other", again.number, DONE)
        return await asked

    assert asyncio.run(main()) == Scored(50.0)


def test_a_silent_group_loses_its_lease_to_another(plan, monkeypatch):
    monkeypatch.setattr(broker_module, "LEASE_SECONDS", 0.06)

    async def main():
        broker = Broker(plan)
        watch = asyncio.create_task(broker.watch())
        asked = asyncio.create_task(broker.score(Node.parse("scratch")))
        silent = await broker.lease("silent")
        other = await broker.lease("other")
        assert isinstance(other, Lease)
        assert other.job.key == silent.job.key
        await broker.finish("other", other.number, DONE)
        await broker.stop()
        await watch
        return await asked

    assert asyncio.run(main()) == Scored(50.0)


def test_a_job_says_where_to_start_and_what_it_is(plan):
    async def main():
        broker = Broker(plan, threads=3)
        asked = asyncio.create_task(broker.score(Node.parse("odc")))
        lease = await broker.lease("g")
        asked.cancel()
        return lease.job

    job = asyncio.run(main())
    assert isinstance(job.spec, StageSpec)
    assert (job.inputs, job.places) == ({}, {})
    assert job.key == job.spec.key()
    assert job.out_dir.endswith(f"{job.key}.part")
    assert job.cache_dir == plan.space.cache
    assert job.runtime == Runtime(threads=3, log_every=plan.space.runtime.log_every)


def test_a_manifest_holds_the_specification_and_its_place(plan):
    run(plan, ["odc"])
    store = StageStore(plan.space.store)
    spec = plan.stages(Node.parse("odc"))[0]
    manifest = store.manifest(spec.key())
    assert (manifest["spec"]["kind"], manifest["spec"]["name"]) == ("pretext", "odc")
    assert manifest["attempts"] == 1
    assert replace(spec, seed=1).key() != spec.key()
    assert store.verify() == []


def test_every_stage_tries_the_whole_range_and_needs_no_single(plan):
    specs = {}

    def keep(job):
        specs[job.key] = job.spec

    halving = replace(plan, space=replace(plan.space, lr_policy="halving"))
    _, jobs, _ = run(halving, ["odc>moco"], keep)
    stages = [specs[key] for key in jobs if specs[key].kind == "pretext"]
    assert [spec.name for spec in stages] == ["odc", "moco"]
    odc, moco = (plan.space.ranges[name] for name in ("odc", "moco"))
    assert [s.training.lr.range for s in stages] == [odc.first, moco.later]


async def lease_score(broker, group="g"):
    """Finish the stages of what is asked; the lease of the score that follows."""
    while True:
        lease = await broker.lease(group)
        if lease.job.spec.kind != "pretext":
            return lease
        await broker.finish(group, lease.number, DONE)


async def epochs(broker, lease, *values, group="g"):
    """The group's report after an epoch; whether it may end the job."""
    return await broker.heartbeat(group, lease.number, Heartbeat(curve=values, epochs=5))


ODC = Node.parse("odc")


def test_every_epoch_is_news_and_the_score_comes_last(plan):
    async def main():
        broker = Broker(plan)
        asked = asyncio.create_task(broker.follow(ODC, 0))
        lease = await lease_score(broker)
        assert not await epochs(broker, lease, 30.0)
        first = await asked
        asked = asyncio.create_task(broker.follow(ODC, 1))
        assert not await epochs(broker, lease, 30.0)  # a second attempt, at what is known
        await asyncio.sleep(0)
        assert not asked.done()
        assert not await epochs(broker, lease, 30.0, 41.0)
        lost = await broker.follow(ODC, 0)  # a trial that was lost asks again
        await broker.finish("g", lease.number, DONE)
        return [first, await asked, lost, await broker.follow(ODC, 2), await broker.follow(ODC, 2)]

    first, second = Curve((30.0,), 5), Curve((30.0, 41.0), 5)
    assert asyncio.run(main()) == [first, second, second, Scored(50.0), Scored(50.0)]


def test_a_cancelled_score_frees_its_group_and_leaves_nothing_finished(plan):
    async def main():
        broker = Broker(plan)
        follower = asyncio.create_task(broker.follow(ODC, 0))
        lease = await lease_score(broker)
        await epochs(broker, lease, 30.0)
        await follower
        await broker.cancel(ODC, "after epoch 1")
        assert await epochs(broker, lease, 30.0, 31.0)  # the answer: it is not wanted
        broker.end("g", lease.number)
        other = asyncio.create_task(broker.follow(Node.parse("scratch"), 0))
        following = await broker.lease("g")
        other.cancel()
        assert isinstance(following, Lease)
        return lease.job.key, broker.status()

    key, status = asyncio.run(main())
    assert StageStore(plan.space.store).manifest(key) is None
    assert status.chains["odc"] == ChainState("stopped", "after epoch 1")
    assert status.leased > 0


def test_a_score_cancelled_right_after_its_probe_is_never_leased(plan, monkeypatch):
    """The cancel comes before the fine-tuning is queued, or after it; a sibling goes on."""
    monkeypatch.setattr(broker_module, "IDLE_SECONDS", 0.05)

    async def main(turns):
        space = replace(plan.space, probe=True, seed=turns)  # so that nothing is in the store
        broker = Broker(replace(plan, space=space))
        asked = asyncio.create_task(broker.follow(ODC, 0, False))
        while (lease := await broker.lease("g")).job.spec.kind != "probe":
            await broker.finish("g", lease.number, DONE)
        await broker.finish("g", lease.number, DONE)
        for _ in range(turns):
            await asyncio.sleep(0)
        await broker.cancel(ODC, "hopeless")
        assert isinstance(await asked, Probed)
        assert await broker.lease("g") is None
        end = await broker.follow(ODC, 0, True)
        child = asyncio.create_task(broker.score(Node.parse("odc>moco")))
        lease = await broker.lease("g")
        child.cancel()
        return end, lease.job.spec.name, broker.status().chains["odc"]

    for turns in range(12):
        end, trained, state = asyncio.run(main(turns))
        assert (end.state, end.reason) == ("ended", "hopeless")
        assert state == ChainState("stopped", "hopeless")
        assert trained in ("odc", "moco")


def test_a_cancelled_score_whose_group_dies_is_not_tried_again(plan, monkeypatch):
    monkeypatch.setattr(broker_module, "IDLE_SECONDS", 0.05)

    async def main():
        broker = Broker(plan)
        asked = asyncio.create_task(broker.score(ODC))
        await lease_score(broker)
        await broker.cancel(ODC, "hopeless")
        assert await broker.lease("g") is None  # it came back
        return await asked

    scored = asyncio.run(main())
    assert (scored.state, scored.reason) == ("ended", "hopeless")


def test_a_score_that_waits_for_another_attempt_is_cancelled_at_once(plan, monkeypatch):
    monkeypatch.setattr(broker_module, "IDLE_SECONDS", 0.05)

    async def main():
        broker = Broker(plan)
        asked = asyncio.create_task(broker.score(ODC))
        lease = await lease_score(broker)
        await broker.finish("g", lease.number, Fault("its worker died"))
        await broker.cancel(ODC, "hopeless")
        assert await broker.lease("g") is None
        return await asked

    assert asyncio.run(main()).reason == "hopeless"


def test_a_score_that_was_finished_meanwhile_is_kept(plan):
    async def main():
        broker = Broker(plan)
        asked = asyncio.create_task(broker.score(ODC))
        lease = await lease_score(broker)
        await broker.cancel(ODC, "hopeless")
        await broker.finish("g", lease.number, DONE)
        await asked
        return lease.job.key

    assert StageStore(plan.space.store).manifest(asyncio.run(main()))["score"] == asdict(DONE.score)


def test_what_one_chain_cancels_another_that_waits_for_it_gets(plan, monkeypatch):
    """Windows with the same rates have the same score."""
    monkeypatch.setattr(broker_module, "LOCK_SECONDS", 0.01)
    narrow = {
        n: replace(t, lr_range=(0.1,), lr_range_later=None) for n, t in plan.space.tasks.items()
    }
    plan = replace(plan, space=replace(plan.space, tasks=narrow))
    twin = Node.parse("odc[low]")
    assert plan.score(twin).key() == plan.score(ODC).key()

    async def main():
        broker = Broker(plan)
        asked = asyncio.create_task(broker.score(ODC))
        lease = await lease_score(broker)
        waits = asyncio.create_task(broker.score(twin))
        await asyncio.sleep(0)
        await broker.cancel(ODC, "hopeless")
        broker.end("g", lease.number)
        again = await lease_score(broker)
        assert again.job.key == lease.job.key
        await broker.finish("g", again.number, DONE)
        return await asked, await waits

    cancelled, kept = asyncio.run(main())
    assert cancelled.reason == "hopeless"
    assert kept == Scored(50.0)


def test_a_group_whose_lease_is_not_its_own_any_more_may_end(plan):
    async def main():
        broker = Broker(plan)
        asked = asyncio.create_task(broker.score(ODC))
        late = await broker.lease("g")
        await broker.lease("g")
        ended = await broker.heartbeat("g", late.number, Heartbeat(step=3))
        asked.cancel()
        return ended

    assert asyncio.run(main())


def test_after_an_interrupt_what_is_in_work_ends_soon(plan):
    async def main():
        broker = Broker(plan)
        asked = asyncio.create_task(broker.score(ODC))
        lease = await broker.lease("g")
        assert isinstance(lease.job.spec, StageSpec)
        assert not await broker.heartbeat("g", lease.number, Heartbeat(step=1))
        await broker.stop()
        assert await broker.heartbeat("g", lease.number, Heartbeat(step=2))
        broker.end("g", lease.number)  # it has left a checkpoint
        assert await broker.lease("g") == "stop"
        return await asked

    scored = asyncio.run(main())
    assert (scored.state, scored.reason) == ("ended", "interrupted")


def probing(plan):
    return replace(plan, space=replace(plan.space, probe=True))


def test_a_chains_probes_are_known_before_its_fine_tuning(plan):
    probes = replace(DONE, score=Score("linear", scored(40.0, 39.0, 41.0).measures))

    async def main():
        broker = Broker(probing(plan))
        asked = asyncio.create_task(broker.follow(ODC, 0, probed=False))
        kinds = []
        for answer in (DONE, probes):
            lease = await broker.lease("g")
            kinds.append(lease.job.spec.kind)
            await broker.finish("g", lease.number, answer)
        first = await asked
        lost = await broker.follow(ODC, 0, probed=False)  # a trial that was lost asks again
        score = asyncio.create_task(broker.follow(ODC, 0, probed=True))
        lease = await broker.lease("g")
        kinds.append(lease.job.spec.kind)
        assert not score.done()
        await broker.finish("g", lease.number, DONE)
        return kinds, first, lost, await score

    kinds, first, lost, score = asyncio.run(main())
    assert kinds == ["pretext", "probe", "classify"]
    assert first == lost == Probed({"balanced_accuracy": 40.0})
    assert score == Scored(50.0)


def test_a_score_without_the_objective_fails_the_chain(plan):
    def spoil(job):
        return Result(DONE.values) if job.spec.kind == "classify" else None

    answers, _, _ = run(plan, ["odc"], spoil)
    assert (answers[0].state, answers[0].reason) == ("failed", "classify gave no balanced_accuracy")


def test_probes_come_before_what_waits(plan):
    async def main():
        broker = Broker(probing(plan))
        first = asyncio.create_task(broker.score(ODC))
        leased = await broker.lease("g")
        other = asyncio.create_task(broker.score(Node.parse("moco")))
        while not broker.queue:  # its stage waits
            await asyncio.sleep(0)
        await broker.finish("g", leased.number, DONE)
        while len(broker.queue) < 2:
            await asyncio.sleep(0)
        probe = await broker.lease("g")
        for asked in (first, other):
            asked.cancel()
        return probe.job.spec.kind

    assert asyncio.run(main()) == "probe"


def test_a_damaged_probe_is_made_again(plan):
    run(probing(plan), ["odc"])
    store, spec = StageStore(plan.space.store), probing(plan).probe(ODC)
    (store.path(spec.key()) / "manifest.json").write_bytes(b"{bit rot")
    _, jobs, _ = run(probing(plan), ["odc"])
    assert jobs == [spec.key()]


def test_every_stage_of_isic3_is_trained_probed_and_scored_once(plan):
    """15 chains: 15 stages instead of 33, and a probe and a score for each of them."""
    texts = [*map(str, plan.space.chains())]
    answers, jobs, status = run(probing(plan), ["scratch", *texts])
    kinds = Counter(key.partition("-")[0] for key in jobs)
    assert len(answers) == 16
    assert (kinds.pop("classify"), kinds.pop("probe")) == (16, 16)
    assert kinds == dict.fromkeys(plan.space.tasks, 5)
    assert len(status.trained) == len(set(jobs)) - 32 == 15


def test_a_group_that_died_while_it_waited_and_started_again_loses_no_job(plan):
    """Its old call still waits beside the new one; each would take a job."""

    async def main():
        broker = Broker(plan)
        old = asyncio.create_task(broker.lease("g"))
        await asyncio.sleep(0)
        new = asyncio.create_task(broker.lease("g"))
        await asyncio.sleep(0)
        asked = asyncio.gather(*(broker.score(Node.parse(text)) for text in ("odc", "moco")))
        lease = await new
        assert await old is None
        await broker.finish("g", lease.number, DONE)
        rest = asyncio.create_task(serve(broker, "g", []))
        found = await asyncio.wait_for(asked, 10)
        await broker.stop()
        await rest
        return found

    assert asyncio.run(main()) == [Scored(50.0)] * 2


def test_a_fault_is_tried_again_where_it_was_if_all_other_groups_are_gone(plan, monkeypatch):
    monkeypatch.setattr(broker_module, "LEASE_SECONDS", 0.2)
    monkeypatch.setattr(broker_module, "IDLE_SECONDS", 0.05)

    async def main():
        broker = Broker(plan)
        assert await broker.lease("gone") is None  # its node is removed
        asked = asyncio.create_task(broker.score(Node.parse("scratch")))
        first = await broker.lease("g")
        await broker.finish("g", first.number, Fault("out of memory"))
        while (again := await broker.lease("g")) is None:
            pass
        await broker.finish("g", again.number, DONE)
        return await asked

    assert asyncio.run(asyncio.wait_for(main(), 10)) == Scored(50.0)


def test_a_disk_that_cannot_be_read_after_a_fault_loses_no_job(plan, monkeypatch):
    def stale(*_):
        raise OSError(116, "Stale file handle")

    met = []

    def spoil(job):
        if job.spec.inputs.get("backbone") and not met:
            met.append(job.key)
            monkeypatch.setattr(StageStore, "recheck", stale)
            return Fault("the store was away")
        return None

    answers, jobs, _ = run(plan, ["odc"], spoil)
    assert answers == [Scored(50.0)]
    assert jobs.count(met[0]) == 2


def test_a_lease_that_ends_while_another_is_taken_back_is_left_alone(plan):
    """A retry waits for the queue; meanwhile the second worker group finishes."""

    async def main():
        broker = Broker(plan)
        texts = ("odc", "moco")
        asked = [asyncio.create_task(broker.score(Node.parse(text))) for text in texts]
        leases = {group: await broker.lease(group, ["n"]) for group in ("g", "h")}
        async with broker.changed:  # held: the first retry waits
            dying = asyncio.create_task(broker.nodes_died({"n"}))
            await asyncio.sleep(0)
            await broker.finish("h", leases["h"].number, DONE)
        await dying
        assert [job.key for job in broker.queue][:1] == [leases["g"].job.key]
        rest = asyncio.create_task(serve(broker, "g", []))
        found = await asyncio.wait_for(asyncio.gather(*asked), 10)
        await broker.stop()
        await rest
        return found

    assert asyncio.run(main()) == [Scored(50.0)] * 2
