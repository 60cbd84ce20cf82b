"""An interrupted search goes on as if it never was: the journal, and what the store knows."""

import json
import math
from dataclasses import asdict, replace

import pytest

from search.chains.node import FRESH, Node
from search.chains.plan import Plan
from search.policies import Policy
from search.policies._hint import Hint
from search.scheduling.early_stopping import Noise, Stop
from search.scheduling.journal import Journal
from search.scheduling.scheduler import Scheduler
from search.space import load
from search.store.stage_store import StageStore
from trainables.plugins import load as plugin
from trainables.spec import Measure, Score

ACCURACY = {"relative_location": 69.52, "moco": 72.74, "odc": 63.52, "scratch": 49.27}


def scheduler(tmp_path, policy="curriculum", *more, repeats=1, spent=str) -> Scheduler:
    space = load("isic3", ["profile=smoke", f"policy={policy}", f"repeats={repeats}", *more])
    plan = Plan(space, "digest")
    made: Policy = plugin("search.policies", policy)(
        tuple(space.tasks), space.max_length, None, 0, space.policy.params
    )
    journal = Journal(tmp_path / "out", plan.identity())
    return Scheduler(plan, made, journal, StageStore(tmp_path / "store"), spent)


def train(asked: Scheduler, node: Node) -> None:
    value = ACCURACY.get(node.chain[-1], 50.0) + len(node.chain)
    commit(asked, node, value)
    asked.record(node)


def commit(asked: Scheduler, node: Node, value: float) -> None:
    """The stages and the score of a node, finished in the store."""
    for spec in asked.plan.graph(node)[:-1]:
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
    assert len(done) == 1 + 7
    assert "odc>relative_location>moco" in done


def test_again_asks_nothing_and_knows_all_scores(tmp_path):
    first = scheduler(tmp_path)
    finish(first)
    again = scheduler(tmp_path)
    assert finish(again) == []
    assert again.scores == first.scores


def test_what_was_removed_from_the_store_is_trained_again(tmp_path):
    first = scheduler(tmp_path)
    finish(first)
    lost = first.plan.score(Node(("moco",))).key()
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
    assert len(rest) == 8 - 3
    assert len(again.scores) == 8


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
    assert len(finish(scheduler(tmp_path))) == 8 - 3


def test_repeats_follow_when_the_policy_is_done(tmp_path):
    done = finish(scheduler(tmp_path, repeats=3))
    assert len(done[:8]) == len({name.partition("#")[0] for name in done}) == 8
    again = done[8:]
    assert again[:2] == ["scratch#1", "scratch#2"]
    assert sorted(again[2:]) == sorted(
        [f"{name}#1" for name in ("moco", "odc>moco", "relative_location>moco")]
        + ["odc>relative_location>moco#1", "odc>relative_location>moco#2"]
        + ["odc>moco#2"]
    )


def test_more_repeats_later_go_on_where_the_search_ended(tmp_path):
    whole = finish(scheduler(tmp_path, repeats=3))
    (tmp_path / "elsewhere").mkdir()
    first = finish(scheduler(tmp_path / "elsewhere"))
    assert first + finish(scheduler(tmp_path / "elsewhere", repeats=3)) == whole


def test_a_round_waits_for_what_is_in_flight(tmp_path):
    asked = scheduler(tmp_path, repeats=2)
    for _ in range(8):
        train(asked, asked.next())
    flying = []
    while (node := asked.next()) is not None:
        flying.append(node)
    assert str(flying[0]) == "scratch#1"
    assert len(flying) == 1 + 4
    assert not asked.finished()
    for node in flying:
        train(asked, node)
    assert asked.next() is None
    assert asked.finished()


STOP = Stop(2, 3, 50.0, 60.0, "after epoch 2 of 3 at 50.00")


def until_a_pair(asked: Scheduler) -> Node:
    """Train what comes before the first chain of two tasks."""
    while len((node := asked.next()).chain) == 1:
        train(asked, node)
    return node


def noisy(asked: Scheduler, *differences: float) -> None:
    """Give the start seeds that differ so much from the first."""
    start = Node(("scratch",))
    for number, difference in enumerate(differences, 1):
        value = asked.scores[start].value + difference
        asked.scores[start.again(number)] = asked.plan.objective.score(value, value, value)


def test_only_a_chain_that_cannot_reach_the_best_is_stopped(tmp_path):
    asked = scheduler(tmp_path, "exhaustive", repeats=3)
    pair = until_a_pair(asked)
    noisy(asked, 0.1, 0.2)
    asked._curves = lambda: [(40.0, 50.0, 64.75)] * 3
    low, single = 20.0, Node(("odc",))  # the best is moco at 73.74, others gain 15 at most
    stop = asked.judge(pair, low, 2, 3)
    assert stop.reason == (
        "after epoch 2 of 3 at 20.00: at best 34.75 by the gains of the other curves, "
        "moco has 73.74; noise explains 2.72 (training noise: sd 0.10, degrees of freedom 2; "
        "early_stop=3)"
    )
    assert asked.judge(pair, 65.0, 2, 3) is None
    assert asked.judge(single, low, 2, 3) is None
    assert asked.judge(Node(("scratch",)), low, 2, 3) is None
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
    others = [pair.again(1), pair.again(FRESH), replace(pair, labels=0.1), Node(("moco", "odc"))]
    assert [asked.judge(node, 20.0, 2, 3) for node in others] == [None] * 4


def test_noise_leaves_out_what_few_labels_score(tmp_path):
    asked = scheduler(tmp_path, "exhaustive", repeats=3)
    until_a_pair(asked)
    noisy(asked, 1.0, 2.0)
    start = replace(Node(("scratch",)), labels=0.01)
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
    assert left[("odc", "moco")] == "the budget of 8 h is spent"
    assert left[("moco", "odc")].startswith("not rising")
    assert len(left) == 15 - 3  # the singles
    rest = finish(scheduler(tmp_path))
    assert len(rest) == 8 - 4


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
    single = first.plan.stages(Node(("odc",)))[0]
    (first.store.path(single.key()) / "manifest.json").write_text("{")
    again = scheduler(tmp_path, "exhaustive", "max_length=2")
    assert finish(again) == ["odc"]  # with its stage again, the longer chains count again
    assert again.scores == first.scores


def test_the_policy_knows_probes_before_the_score_and_after_a_resume(tmp_path):
    first = scheduler(tmp_path)
    assert str(first.next()) == "scratch"
    train(first, Node(("scratch",)))
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
