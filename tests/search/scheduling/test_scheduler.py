"""An interrupted search goes on as if it never was: the journal, and what the store knows."""

import json
import math
from dataclasses import asdict, replace
from random import Random

import pytest

from search.chains.chain import Chain
from search.chains.node import FRESH, Node
from search.chains.plan import Plan
from search.policies import Policy, policy_of
from search.policies._hint import Hint
from search.scheduling import repeats
from search.scheduling.early_stopping import Noise, Stop
from search.scheduling.journal import Journal
from search.scheduling.scheduler import Scheduler
from search.space import load
from search.store.stage_store import StageStore
from trainables.plugins import load as plugin
from trainables.spec import Measure, Score

ACCURACY = {"relative_location": 69.52, "moco": 72.74, "odc": 63.52, "scratch": 49.27}


def scheduler(tmp_path, policy="curriculum", *more, repeats=1, spent=str) -> Scheduler:
    tmp_path.mkdir(exist_ok=True)
    space = load("isic3", ["profile=smoke", f"policy={policy}", f"repeats={repeats}", *more])
    plan = Plan(space, "digest", {name: "w" for name in space.run_starts if name != "scratch"})
    made: Policy = plugin("search.policies", policy)(
        tuple(space.tasks), space.max_length, None, 0, space.policy.params,
        starts=space.grown_starts, max_starts=space.max_starts,
    )  # fmt: skip
    journal = Journal(tmp_path / "out", plan.identity())
    return Scheduler(plan, made, journal, StageStore(tmp_path / "store"), spent)


def train(asked: Scheduler, node: Node) -> None:
    tasks = node.chain.tasks or ("scratch",)
    value = ACCURACY.get(tasks[-1], 50.0) + len(tasks)
    commit(asked, node, value)
    asked.record(node)


def commit(asked: Scheduler, node: Node, value: float) -> None:
    """The stages and the score of a node, finished in the store."""
    for spec in asked.plan.graph(node)[:-1]:
        if asked.store.manifest(spec.key()):
            continue
        with asked.store.lock(spec.key()):
            asked.store.part(spec.key())
            known = {"spec": asdict(spec), "result": {"lr": 0.01}, "score": None}
            if spec.kind == "probe":
                known["score"] = asdict(Score("linear", {}))
            asked.store.commit(spec.key(), known)
    spec = asked.plan.score(node)
    with asked.store.lock(spec.key()):
        part = asked.store.part(spec.key())
        epochs = [{"objective": value * share} for share in (0.5, 0.8, 1.0)]
        (part / "history.json").write_text(json.dumps({"lr_range": [], "train": epochs}))
        score = asdict(asked.plan.objective.score(value, value - 1, value + 1))
        asked.store.commit(spec.key(), {"spec": asdict(spec), "result": {}, "score": score})


def finish(asked: Scheduler) -> list[str]:
    done = []
    while (node := asked.next()) is not None:
        done.append(str(node))
        train(asked, node)
    assert asked.finished()
    return done


def test_baselines_come_first_and_only_rising_chains_follow(tmp_path):
    done = finish(scheduler(tmp_path))
    assert done[0] == "scratch"
    assert len(done) == 1 + 7 + 2
    assert done[-2:] == ["odc>relative_location>moco#1000", "scratch#1000"]


def probe(asked: Scheduler, node: Node, value: float) -> None:
    """The frozen probe of a start, finished in the store."""
    measure = asked.plan.objective.measure(value, value - 1, value + 1)
    for spec in asked.plan.graph(node):
        with asked.store.lock(spec.key()):
            asked.store.part(spec.key())
            score = asdict(Score("linear", {"linear": measure}))
            asked.store.commit(spec.key(), {"spec": asdict(spec), "result": {}, "score": score})
    asked.record(node)


IMAGENET = ("starts.imagenet=w.pth", "max_length=2")


def test_frozen_probes_of_all_starts_are_the_first_jobs(tmp_path):
    asked = scheduler(tmp_path, "exhaustive", *IMAGENET)
    first = [asked.next() for _ in range(4)]
    assert [*map(str, first)] == ["scratch!frozen", "imagenet!frozen", "scratch", "imagenet"]
    for node, value in zip(first, (30.0, 40.0), strict=False):
        probe(asked, node, value)
    assert {str(p): score.merit for p, score in asked.frozen.items()} == {
        "scratch!frozen": 30.0, "imagenet!frozen": 40.0,
    }  # fmt: skip
    assert asked.scores == {}, "a probe is no score"
    for node in first[2:]:
        train(asked, node)
    rest = finish(asked)
    chains = [text for text in rest if "#" not in text]
    assert len(chains) == len(set(chains)) == 2 * 9
    assert finish(scheduler(tmp_path, "exhaustive", *IMAGENET)) == []


@pytest.mark.parametrize("probes", [(30.0, 40.0), (40.0, 30.0)])
def test_max_starts_waits_for_the_probes_and_grows_from_the_better_one(tmp_path, probes):
    asked = scheduler(tmp_path, "exhaustive", *IMAGENET, "max_starts=1")
    first = [asked.next() for _ in range(4)]
    assert asked.next() is None
    assert not asked.finished()
    for node, value in zip(first, probes, strict=False):
        probe(asked, node, value)
    for node in first[2:]:
        train(asked, node)
    chains = [Node.parse(t).chain for t in finish(asked) if "#" not in t]
    better = "imagenet" if probes[1] > probes[0] else "scratch"
    assert len(chains) == 9
    assert {chain.start for chain in chains} == {better}
    assert {str(why) for why in asked.pruned().values()} == {
        f"max_starts=1: its start is behind {better}"
    }
    again = scheduler(tmp_path, "exhaustive", *IMAGENET, "max_starts=1")
    assert finish(again) == []
    assert again.scores == asked.scores


def test_without_probes_max_starts_goes_by_the_scores(tmp_path):
    asked = scheduler(tmp_path, "exhaustive", *IMAGENET, "max_starts=1", "probe=false")
    first = [asked.next(), asked.next()]
    assert [*map(str, first)] == ["scratch", "imagenet"]
    assert asked.next() is None
    for node, value in zip(first, (30.0, 40.0), strict=True):
        commit(asked, node, value)
        asked.record(node)
    assert str(asked.next()).startswith("imagenet:")


def test_a_start_whose_probe_failed_is_not_grown_from(tmp_path):
    asked = scheduler(tmp_path, "exhaustive", *IMAGENET, "max_starts=1")
    first = [asked.next() for _ in range(4)]
    probe(asked, first[0], 30.0)
    asked.record(first[1], "no such file")
    for node in first[2:]:
        train(asked, node)
    assert asked.next() == Node.parse("relative_location")


def test_again_asks_nothing_and_knows_all_scores(tmp_path):
    first = scheduler(tmp_path)
    finish(first)
    again = scheduler(tmp_path)
    assert finish(again) == []
    assert again.scores == first.scores


def test_what_was_removed_from_the_store_is_trained_again(tmp_path):
    first = scheduler(tmp_path)
    finish(first)
    lost = first.plan.score(Node.parse("moco")).key()
    keep = set(first.store.keys()) - {lost}
    first.store.prune(keep)
    assert finish(scheduler(tmp_path)) == ["moco"]


def test_what_was_in_flight_comes_first_and_nothing_is_asked_twice(tmp_path):
    asked = scheduler(tmp_path)
    for _ in range(3):
        train(asked, asked.next())
    lost = asked.next()
    again = scheduler(tmp_path)
    rest = finish(again)
    assert rest[0] == str(lost)
    assert len(rest) == 10 - 3
    assert len(again.scores) == 10


def test_another_folder_reuses_the_store(tmp_path):
    finish(scheduler(tmp_path))
    (tmp_path / "out").rename(tmp_path / "old")
    assert finish(scheduler(tmp_path)) == []


def test_a_failed_trial_is_reported_and_tried_again_next_time(tmp_path):
    asked = scheduler(tmp_path)
    train(asked, asked.next())
    failed = asked.next()
    asked.record(failed, "loss is nan at step 3")
    finish(asked)
    assert asked.reasons == {failed: "loss is nan at step 3"}
    assert str(failed) in finish(scheduler(tmp_path))


def test_a_line_cut_by_a_kill_is_left_out(tmp_path):
    asked = scheduler(tmp_path)
    for _ in range(3):
        train(asked, asked.next())
    path = asked.journal.path
    path.write_text(path.read_text() + '{"proposal": "mo')
    assert len(finish(scheduler(tmp_path))) == 10 - 3


BEST = "odc>relative_location>moco"


def seeds(name: str, numbers) -> list[str]:
    return [f"{name}#{k}" if k else name for k in numbers]


def test_the_phases_in_their_order(tmp_path):
    done = finish(scheduler(tmp_path, "curriculum", "controls=true", "label_curve=true", repeats=3))
    assert done[:3] == seeds("scratch", range(3)), "the starts, with all selection seeds"
    assert not any(mark in name for name in done[3:10] for mark in "#@"), "the policy's choices"
    assert sorted(done[10:16]) == sorted(
        [f"{name}#1" for name in ("moco", "odc>moco", "relative_location>moco")]
        + seeds(BEST, (1, 2))
        + ["odc>moco#2"]
    )
    assert done[16:22] == [
        *seeds("moco>moco>moco", range(3)), *seeds("moco>relative_location>odc", range(3)),
    ]  # fmt: skip
    assert done[22:28] == [*seeds(BEST, range(1000, 1003)), *seeds("scratch", range(1000, 1003))]
    assert done[28:] == [
        f"{name}#1000@{labels}"
        for name in (BEST, "odc>moco", "scratch")
        for labels in ("0.01", "0.1", "1")
    ]


def test_the_journal_has_the_policys_choices_alone(tmp_path):
    asked = scheduler(tmp_path, "curriculum", "controls=true", "label_curve=true", repeats=2)
    finish(asked)
    known, told, _ = asked.journal.replay()
    assert {*known} == {*told} == asked.chosen
    assert len(known) == 7


@pytest.mark.parametrize("trained", [1, 5, 10, 14, 18, 22])  # of 27, in every phase once
def test_a_search_resumes_in_every_phase(tmp_path, trained):
    """Nothing finished is trained again, and nothing else is trained than without the end."""
    more = ("controls=true", "label_curve=true", "max_length=2")
    whole = finish(scheduler(tmp_path / "whole", "curriculum", *more, repeats=2))
    asked = scheduler(tmp_path / "cut", "curriculum", *more, repeats=2)
    done = []
    for _ in range(trained):
        if (node := asked.next()) is not None:
            train(asked, node)
            done.append(str(node))
    asked.next()  # in flight when it ends
    again = scheduler(tmp_path / "cut", "curriculum", *more, repeats=2)
    assert [*done, *finish(again)] == whole
    assert finish(scheduler(tmp_path / "cut", "curriculum", *more, repeats=2)) == []


def test_more_repeats_later_go_on_where_the_search_ended(tmp_path):
    whole = finish(scheduler(tmp_path, repeats=3))
    (tmp_path / "elsewhere").mkdir()
    first = finish(scheduler(tmp_path / "elsewhere"))
    rest = finish(scheduler(tmp_path / "elsewhere", repeats=3))
    assert sorted(first + rest) == sorted(whole)


def test_a_round_waits_for_what_is_in_flight(tmp_path):
    asked = scheduler(tmp_path, repeats=2)
    for _ in range(9):
        train(asked, asked.next())
    flying = in_flight(asked)
    assert len(flying) == 4
    assert not asked.finished()
    for node in flying:
        train(asked, node)
    flying = in_flight(asked)
    assert [str(p) for p in flying] == [
        *seeds(BEST, (1000, 1001)), *seeds("scratch", (1000, 1001)),
    ]  # fmt: skip
    for node in flying:
        train(asked, node)
    assert asked.next() is None
    assert asked.finished()


def in_flight(asked: Scheduler) -> list[Node]:
    """All that idle worker groups would get at once."""
    flying = []
    while (node := asked.next()) is not None:
        flying.append(node)
    return flying


def test_rounds_wait_for_the_starts(tmp_path):
    asked = scheduler(tmp_path, repeats=2)
    starts = [asked.next(), asked.next()]
    for _ in range(7):
        train(asked, asked.next())
    assert asked.next() is None
    assert not asked.finished()
    for node in starts:
        train(asked, node)
    assert str(asked.next()).endswith("#1")


def test_all_chains_failed(tmp_path):
    asked = scheduler(tmp_path, "curriculum", "controls=true", "label_curve=true")
    done = []
    while (node := asked.next()) is not None:
        done.append(str(node))
        if node.chain.is_baseline:
            train(asked, node)
        else:
            asked.record(node, "loss is NaN")
    assert asked.finished()
    assert asked.best() is None
    assert done == [
        "scratch", *asked.plan.space.tasks, "scratch#1000",
        "scratch#1000@0.01", "scratch#1000@0.1", "scratch#1000@1",
    ]  # fmt: skip
    finals = asked.finals()
    assert finals.fresh_missing(asked.reasons, "") == "no chain has a score"
    assert str(finals.leading_start) == "scratch"


def test_a_start_that_fails(tmp_path):
    asked = scheduler(tmp_path, repeats=2)
    done = []
    while (node := asked.next()) is not None:
        done.append(node)
        if node.chain.is_baseline:
            asked.record(node, "loss is NaN")
        else:
            train(asked, node)
    assert asked.finished()
    finals = asked.finals()
    assert (str(finals.best), finals.leading_start) == (BEST, None)
    assert [str(p) for p in done if p.is_fresh] == seeds(BEST, (1000, 1001))
    assert finals.fresh_missing(asked.reasons, "") == "no start has a score"


def test_a_fresh_seed_that_fails_is_said_and_not_tried_again(tmp_path):
    asked = scheduler(tmp_path)
    while (node := asked.next()) is not None:
        if str(node) == f"{BEST}#1000":
            asked.record(node, "loss is NaN")
        else:
            train(asked, node)
    assert asked.finished()
    assert Node.parse("scratch#1000") in asked.scores
    said = asked.finals().fresh_missing(asked.reasons, "")
    assert said == f"{BEST}#1000: loss is NaN"


@pytest.mark.parametrize("trained", [2 + 7, 2 + 7 + 4, 2 + 7 + 4 + 2])
def test_a_spent_budget_ends_the_phases(tmp_path, trained):
    said = [""]
    asked = scheduler(tmp_path, repeats=2, spent=lambda: said[0])
    for _ in range(trained):
        train(asked, asked.next())
    said[0] = "the budget of 8 h is spent"
    assert asked.next() is None
    assert asked.finished()
    assert str(asked.best()) == BEST
    assert asked.finals().fresh_missing(asked.reasons, asked.over) == said[0]
    assert asked.over not in asked.pruned().values(), "no chain was left out for it"


def test_with_all_fresh_seeds_nothing_is_missing(tmp_path):
    asked = scheduler(tmp_path, repeats=2)
    finish(asked)
    assert asked.finals().fresh_missing(asked.reasons, "the search was interrupted") == ""


def test_stages_of_a_budget_are_those_of_the_policy(tmp_path):
    more = ("controls=true", "budget=4")
    space = load("isic3", ["profile=smoke", "policy=exhaustive", "repeats=2", *more])
    plan = Plan(space, "digest")
    journal = Journal(tmp_path / "out", plan.identity())
    done = finish(Scheduler(plan, policy_of(space), journal, StageStore(tmp_path / "store")))
    assert len([name for name in done if not name.startswith("scratch") and "#" not in name]) == (
        4 + 2  # and the controls of a pair
    )
    assert "scratch#1001" in done


@pytest.mark.parametrize("policy", ["tpe", "tune", "adaptive"])
def test_the_best_chain_is_what_the_policy_recommends_with_all_its_seeds(tmp_path, policy):
    more = ("max_length=2", "controls=true", "label_curve=true")
    space = load("isic3", ["profile=smoke", f"policy={policy}", "repeats=3", *more])
    rates = {name: len(both.first) for name, both in space.ranges.items()}
    plan, rng = Plan(space, "digest"), Random(1)
    made = policy_of(space, rates)
    journal = Journal(tmp_path / "out", plan.identity())
    asked = Scheduler(plan, made, journal, StageStore(tmp_path / "store"))
    while (node := asked.next()) is not None:
        commit(asked, node, 50 + 5 * max(1, len(node.chain.tasks)) + rng.gauss(0, 4))
        asked.record(node)
    best = asked.best()
    again = [asked.scores[best.again(k)] for k in (1, 2)]
    everything = repeats.again(repeats.selection(asked.scores, asked.chosen))
    assert best == made.best(everything)
    assert everything[best] == again
    assert all(best.again(FRESH + k) in asked.scores for k in range(3))
    windows = {window for p in asked.chosen for window in p.windows}
    assert bool(windows) == (policy != "adaptive")
    first = Scheduler(plan, policy_of(space, rates), journal, asked.store)
    assert first.next() is None
    assert first.best() == best
    assert first.scores == asked.scores


def test_a_reverse_that_the_policy_tried_is_no_other_chain(tmp_path):
    done = finish(scheduler(tmp_path, "exhaustive", "max_length=2", "controls=true", repeats=2))
    assert len(done) == len(set(done))
    best = next(name for name in done if name.endswith("#1000")).partition("#")[0]
    first, last = best.split(">")
    assert f"{last}>{first}#1" in done
    assert "moco>moco#1" in done


def test_a_reverse_that_was_stopped_is_left_alone(tmp_path):
    asked = scheduler(tmp_path, "exhaustive", "max_length=2", "controls=true")
    done = []
    while (node := asked.next()) is not None:
        done.append(str(node))
        if node.chain in (("moco", "odc"), ("moco", "relative_location")):
            asked.record(node, stop=STOP)
        else:
            train(asked, node)
    assert str(asked.best()) in ("odc>moco", "relative_location>moco")
    assert len(done) == len(set(done))
    assert "moco>moco" in done


STOP = Stop(2, 3, 50.0, 60.0, "after epoch 2 of 3 at 50.00", 3.0)


def until_a_pair(asked: Scheduler) -> Node:
    """Train what comes before the first chain of two tasks."""
    while len((node := asked.next()).chain.tasks) < 2:
        train(asked, node)
    return node


def noisy(asked: Scheduler, *differences: float) -> None:
    """Give the start seeds that differ so much from the first."""
    start = Node.parse("scratch")
    for number, difference in enumerate(differences, 1):
        value = asked.scores[start].value + difference
        asked.scores[start.again(number)] = asked.plan.objective.score(value, value, value)


def test_only_a_chain_that_cannot_reach_the_best_is_stopped(tmp_path):
    asked = scheduler(tmp_path, "exhaustive", repeats=3)
    pair = until_a_pair(asked)
    noisy(asked, 0.1, 0.2)
    asked._curves = lambda: [(40.0, 50.0, 64.75)] * 3
    low, single = 20.0, Node.parse("odc")  # the best is moco at 73.74, others gain 15 at most
    stop = asked.judge(pair, low, 2, 3)
    assert stop.reason == (
        "after evaluation 2 of 3 at 20.00: ends at best at 34.75 by the gains of the other curves, "
        "moco has 73.74; noise explains 2.72 (training noise: sd 0.10, degrees of freedom 2; "
        "early_stop=3)"
    )
    assert asked.judge(pair, 65.0, 2, 3) is None
    assert asked.judge(single, low, 2, 3) is None
    assert asked.judge(Node.parse("scratch"), low, 2, 3) is None
    assert asked.judge(pair, low, 1, 3) is None  # a third of the epochs


def test_without_early_stopping_nothing_is_stopped(tmp_path):
    asked = scheduler(tmp_path, "exhaustive", "early_stop=null", repeats=3)
    pair = until_a_pair(asked)
    noisy(asked, 0.1, 0.2)
    assert asked.judge(pair, 20.0, 2, 3) is None


def test_with_one_seed_nothing_is_stopped(tmp_path):
    asked = scheduler(tmp_path, "exhaustive")
    assert asked.judge(until_a_pair(asked), 20.0, 2, 3) is None


def test_only_what_the_policy_waits_for_is_stopped(tmp_path):
    """Neither repeats nor fresh seeds, controls or label curves."""
    asked = scheduler(tmp_path, "exhaustive", repeats=3)
    pair = until_a_pair(asked)
    noisy(asked, 0.1, 0.2)
    assert asked.judge(pair, 20.0, 2, 3) is not None
    others = [pair.again(1), pair.again(FRESH), replace(pair, labels=0.1), Node.parse("moco>odc")]
    assert [asked.judge(node, 20.0, 2, 3) for node in others] == [None] * 4


def test_noise_leaves_out_what_few_labels_score(tmp_path):
    asked = scheduler(tmp_path, "exhaustive", repeats=3)
    until_a_pair(asked)
    noisy(asked, 1.0, 2.0)
    start = replace(Node.parse("scratch"), labels=0.01)
    for number in range(3):
        value = 20.0 + 9 * number
        asked.scores[start.again(number)] = asked.plan.objective.score(value, value, value)
    assert asked._noise() == Noise(pytest.approx(1.0), 2)


def test_a_probe_without_hope_ends_the_trial_before_fine_tuning(tmp_path):
    asked = scheduler(tmp_path, "exhaustive", repeats=3)
    pair = until_a_pair(asked)
    noisy(asked, 0.1, 0.2)
    asked.policy.hint = {pair: Hint(50.0, 2.0)}.get
    stop = asked.judge(pair, math.nan, 0, 0)
    assert (stop.epoch, stop.epochs, stop.best) == (0, 3, 50.0)
    assert stop.reason.startswith("before fine-tuning: its probe predicts 50.00 (sd 2.00)")
    asked.policy.hint = {pair: Hint(70.0, 2.0)}.get
    assert asked.judge(pair, math.nan, 0, 0) is None
    asked.policy.hint = {}.get
    assert asked.judge(pair, math.nan, 0, 0) is None


def test_a_stop_is_a_bound_for_the_policy_and_after_a_resume(tmp_path):
    asked = scheduler(tmp_path, "exhaustive", "downstream.objective=brier")
    pair = until_a_pair(asked)
    asked.record(pair, stop=STOP)
    assert (asked.policy.value(pair), asked.policy.bound(pair)) == (None, -60.0)
    again = scheduler(tmp_path, "exhaustive", "downstream.objective=brier")
    assert again.policy.bound(pair) == -60.0
    assert pair not in again.policy.in_flight()


@pytest.mark.parametrize(("asked_for", "stays"), [("2.5", True), ("3", True), ("4", False)])
def test_a_stop_holds_unless_more_deviations_are_asked_for(tmp_path, asked_for, stays):
    first = scheduler(tmp_path, "exhaustive", repeats=3)
    pair = until_a_pair(first)
    first.record(pair, stop=STOP)
    again = scheduler(tmp_path, "exhaustive", f"early_stop={asked_for}", repeats=3)
    assert ([*again.stops], pair in again.policy.in_flight()) == ([pair] * stays, not stays)


def test_a_stopped_chain_has_children_but_no_score(tmp_path):
    asked = scheduler(tmp_path, "exhaustive")
    pair = until_a_pair(asked)
    asked.record(pair, stop=STOP)
    done = finish(asked)
    assert any(text.startswith(f"{pair}>") for text in done)
    assert pair not in asked.scores
    assert [(one.chain, one.reason) for one in asked.stopped()] == [(str(pair), STOP.reason)]
    assert asked.policy.pruned() == {}


def test_a_stopped_chain_is_not_trained_again_unless_early_stopping_is_off(tmp_path):
    asked = scheduler(tmp_path, "exhaustive")
    pair = until_a_pair(asked)
    asked.record(pair, stop=STOP)
    finish(asked)
    again = scheduler(tmp_path, "exhaustive")
    assert finish(again) == []
    assert again.stops == {pair: STOP}
    whole = scheduler(tmp_path, "exhaustive", "early_stop=null")
    assert finish(whole) == [str(pair)]
    assert whole.stops == {}
    back = scheduler(tmp_path, "exhaustive")
    assert (finish(back), back.stops) == ([], {})
    assert pair in back.scores


def test_a_score_that_came_after_all_counts(tmp_path):
    asked = scheduler(tmp_path, "exhaustive")
    pair = until_a_pair(asked)
    asked.record(pair, stop=STOP)
    commit(asked, pair, 99.0)
    again = scheduler(tmp_path, "exhaustive")
    assert str(pair) not in finish(again)
    assert again.scores[pair].value == 99.0
    assert again.stops == {}


def test_when_the_time_is_spent_nothing_new_is_begun(tmp_path):
    said = [""]
    asked = scheduler(tmp_path, spent=lambda: said[0])
    for _ in range(3):
        train(asked, asked.next())
    flying = asked.next()
    said[0] = "the budget of 8 h is spent"
    assert asked.next() is None
    assert asked.finished()
    assert flying.chain not in asked.pruned()
    train(asked, flying)
    left = asked.pruned()
    assert left[Chain(("odc", "moco"))] == "the budget of 8 h is spent"
    assert left[Chain(("moco", "odc"))].startswith("not rising")
    assert len(left) == 15 - 3  # the singles
    rest = finish(scheduler(tmp_path))
    assert len(rest) == 10 - 4


def test_time_that_ends_after_the_last_chain_cuts_nothing(tmp_path):
    asked = scheduler(tmp_path)
    finish(asked)
    asked.spent = lambda: "the budget of 8 h is spent"
    assert asked.next() is None
    assert asked.over == ""


def test_what_was_in_flight_is_not_begun_again_without_time(tmp_path):
    asked = scheduler(tmp_path)
    for _ in range(3):
        train(asked, asked.next())
    lost = asked.next()
    again = scheduler(tmp_path, spent=lambda: "the budget of 1 s is spent")
    assert again.next() is None
    assert again.pruned()[lost.chain] == "the budget of 1 s is spent"


def test_a_score_whose_stage_is_damaged_is_asked_for_again(tmp_path):
    first = scheduler(tmp_path, "exhaustive", "max_length=2")
    finish(first)
    single = first.plan.stages(Node.parse("odc"))[0]
    (first.store.path(single.key()) / "manifest.json").write_text("{")
    again = scheduler(tmp_path, "exhaustive", "max_length=2")
    assert finish(again) == ["odc"]  # with its stage again, the longer chains count again
    assert again.scores == first.scores


def test_the_policy_knows_probes_before_the_score_and_after_a_resume(tmp_path):
    first = scheduler(tmp_path)
    assert str(first.next()) == "scratch"
    train(first, Node.parse("scratch"))
    node = first.next()
    spec = first.plan.probe(node)
    score = Score("linear", {"linear": Measure(40.0, 39.0, 41.0, "%", True)})
    with first.store.lock(spec.key()):
        first.store.part(spec.key())
        first.store.commit(spec.key(), {"spec": asdict(spec), "result": {}, "score": asdict(score)})
    assert first.policy.probes(node) == {}
    first.probed(node)
    assert first.policy.probes(node) == score.measures
    assert first.policy.value(node) is None
    again = scheduler(tmp_path)
    assert again.policy.probes(node) == score.measures
    assert again.policy.value(node) is None
