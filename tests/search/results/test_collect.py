"""The records for the report: one a chain, in the order of the scores."""

from types import SimpleNamespace

import pytest

from search.chains.chain import Chain
from search.chains.node import Node
from search.results.collect import Collector, snapshot
from search.results.status import ChainState
from search.scheduling.early_stopping import Stop
from tests.measures import scored

STARTS = {
    "starts": ("scratch", "imagenet"), "run_starts": ("scratch",),
    "baseline_names": ("scratch", "imagenet"),
}  # fmt: skip


@pytest.fixture
def collector():
    """A search over two tasks whose nodes were scored in this order."""
    known = {
        Node.parse("scratch"): 50.0,
        Node.parse("b"): 60.0,
        Node.parse("a[low]"): 61.0,
        Node.parse("a"): 55.0,
        Node.parse("a[low]>b"): 65.0,
    }
    stage = SimpleNamespace(key=lambda: "stage")
    chains = [*map(Chain.parse, ("a", "b", "a>b", "b>a"))]
    plan = SimpleNamespace(
        stages=lambda _: (stage,), score=lambda _: stage, probe=lambda _: None, weights={},
        features={}, space=SimpleNamespace(test=True, external={}, chains=lambda: chains, **STARTS),
    )  # fmt: skip
    plan.frozen = lambda: (Node(Chain(()), frozen=True),)
    plan.baselines = lambda: (Node.parse("scratch"),)
    scheduler = SimpleNamespace(
        plan=plan,
        chosen={p for p in known if p.chain.tasks},
        best=lambda: None,
        scores={p: scored(one, one - 1, one + 1) for p, one in known.items()},
        reasons={},
        stops={},
        pruned=lambda: {Chain.parse("b>a"): "falls"},
        frozen={},
    )
    return Collector(scheduler)


def test_only_what_is_asked_for_is_the_same_record(collector):
    asked = {Chain(("a", "b")), Chain(())}
    some = Collector(collector.scheduler, asked).results()
    assert some == [result for result in collector.results() if result.chain in asked]


def test_order_is_that_of_the_scores(collector):
    order = {str(result.chain): result.order for result in collector.results()}
    assert order == {"b": 1, "a": 2, "a>b": 4, "b>a": None, "scratch": 0, "imagenet": None}


def test_the_best_node_of_a_chain_counts(collector):
    found = {result.chain: result for result in collector.results()}
    assert found[Chain(("a",))].score.value == 61.0
    assert found[Chain(("a",))].reason == "a[low]"


def test_remarks_say_which_windows_and_which_repeats_failed(collector):
    single = Node.parse("b")
    collector.scheduler.reasons = {single.again(1): "loss is NaN", Node.parse("a").again(2): "x"}
    found = {result.chain: result.reason for result in collector.results()}
    assert found[Chain(("b",))] == "b#1: loss is NaN"
    assert found[Chain(("a", "b"))] == "a[low]>b"


def test_of_the_best_chain_the_recommended_node_counts(collector):
    collector.scheduler.best = lambda: Node.parse("a")
    found = {result.chain: result for result in collector.results()}
    assert found[Chain(("a",))].score.value == 55.0


def test_later_seeds_and_fresh_ones_are_told_apart(collector):
    node = Node.parse("a[low]")
    for repeat in (1001, 2, 1000):
        collector.scheduler.scores[node.again(repeat)] = scored(repeat / 20, 0, 99)
    found = {result.chain: result for result in Collector(collector.scheduler).results()}
    one = found[Chain(("a",))]
    assert [(again.seed, again.score.value) for again in one.repeats] == [(2, 0.1)]
    assert [(again.seed, again.score.value) for again in one.fresh] == [(0, 50.0), (1, 50.05)]
    assert (one.fresh[0].stage_key, one.control) == ("stage", False)
    assert found[Chain(("b",))].fresh == ()


def test_controls_are_marked_unless_the_policy_tried_them(collector):
    asked = collector.scheduler
    asked.scores |= {
        Node.parse("b>a"): scored(58.0, 57.0, 59.0),  # the policy does not try it
        Node.parse("b>b"): scored(59.0, 58.0, 60.0),
        Node.parse("b>b#1"): scored(60.0, 59.0, 61.0),
        Node.parse("a[low]>b#1"): scored(64.0, 63.0, 65.0),
    }
    asked.reasons = {Node.parse("b>b>b"): "loss is NaN"}
    made = Collector(asked).results()
    found = {str(one.chain): one for one in made}
    assert len(found) == len(made)
    assert {name for name, one in found.items() if one.control} == {"b>a", "b>b", "b>b>b"}
    assert (found["b>a"].status, found["b>a"].score.value) == ("done", 58.0)
    assert [again.score.value for again in found["b>b"].repeats] == [60.0]
    assert (found["b>b>b"].status, found["b>b>b"].reason) == ("failed", "loss is NaN")
    assert [one for one in made if str(one.chain) == "b>b"] == Collector(
        asked, {Chain(("b", "b"))}
    ).results()


def test_the_label_curve_is_no_seed(collector):
    asked = collector.scheduler
    for text, value in (("b#1000@1", 70.0), ("b#1000@0.01", 40.0), ("scratch#1000@0.1", 30.0)):
        asked.scores[Node.parse(text)] = scored(value, value - 1, value + 1)
    made = Collector(asked)
    assert [(str(p.chain), p.labels, p.score.value) for p in made.label_curve()] == [
        ("b", 0.01, 40.0), ("b", 1.0, 70.0), ("scratch", 0.1, 30.0),
    ]  # fmt: skip
    assert {point.downstream_key for point in made.label_curve()} == {"stage"}
    found = {result.chain: result for result in made.results()}
    assert (
        found[Chain(("b",))].score.value,
        found[Chain(("b",))].repeats,
        found[Chain(("b",))].fresh,
    ) == (60.0, (), ())


def test_a_snapshot_counts_and_does_not_change_with_the_scheduler(collector):
    asked = collector.scheduler
    asked.over, asked.policy = "", SimpleNamespace(planned=lambda: SimpleNamespace(maximum=4))
    more = {"repeats": 2, "max_length": 2, "controls": True, "label_curve": True}
    asked.plan.space = SimpleNamespace(
        **more, **STARTS, test=True, external={}, probe=True, chains=lambda: [1, 2, 3, 4],
        baselines=SimpleNamespace(features={}),
    )  # fmt: skip
    asked.plan.pool = None
    asked.frozen = {Node(Chain(()), frozen=True): scored(31.0, 30.0, 32.0)}
    asked.stops = {Node.parse("b>a"): Stop(2, 5, 40.0, 45.0, "hopeless", 3.0)}
    asked.reasons = {Node.parse("a>b").again(1): "loss is NaN"}
    made = snapshot(asked)
    final = 2 * 2 + 2 * 2 + 3 * 3  # controls, fresh seeds, label curve
    # chains, seeds, starts with their frozen probe
    assert (made.done, made.total) == (6 + 1 + 1, 4 + 2 + 2 * 1 + 1 + final)
    assert made.chains["a[low]>b"] == ChainState("done", "", scored(65.0, 64.0, 66.0))
    assert made.chains["b>a"] == ChainState("stopped", "hopeless")
    asked.scores.clear()
    assert len(made.chains) == 7
    assert made.notice == ""
    asked.over = "the budget of 8 h is spent"
    assert snapshot(asked).notice.startswith("the budget of 8 h is spent: ")
