"""The records for the report: one a chain, in the order of the scores."""

from types import SimpleNamespace

import pytest

from search.chains.node import Node
from search.results.collect import Collector, snapshot
from search.results.status import ChainState
from search.scheduling.early_stopping import Stop
from tests.measures import scored


@pytest.fixture
def collector():
    """A search over two tasks whose nodes were scored in this order."""
    known = {
        Node(("scratch",)): 50.0,
        Node(("b",)): 60.0,
        Node(("a",), (("a", "low"),)): 61.0,
        Node(("a",)): 55.0,
        Node(("a", "b"), (("a", "low"),)): 65.0,
    }
    stage = SimpleNamespace(key=lambda: "stage")
    chains = [("a",), ("b",), ("a", "b"), ("b", "a")]
    plan = SimpleNamespace(
        stages=lambda _: (stage,), score=lambda _: stage, probe=lambda _: None, weights={},
        space=SimpleNamespace(chains=lambda: chains),
    )  # fmt: skip
    scheduler = SimpleNamespace(
        plan=plan,
        scores={p: scored(one, one - 1, one + 1) for p, one in known.items()},
        reasons={},
        stops={},
        pruned=lambda: {("b", "a"): "falls"},
    )
    return Collector(scheduler)


def test_only_what_is_asked_for_is_the_same_record(collector):
    asked = {("a", "b"), ("scratch",)}
    some = Collector(collector.scheduler, asked).results()
    assert some == [result for result in collector.results() if result.chain in asked]


def test_order_is_that_of_the_scores(collector):
    order = {">".join(result.chain): result.order for result in collector.results()}
    assert order == {"b": 1, "a": 2, "a>b": 4, "b>a": None, "scratch": 0, "imagenet": None}


def test_the_best_node_of_a_chain_counts(collector):
    found = {result.chain: result for result in collector.results()}
    assert found[("a",)].score.value == 61.0
    assert found[("a",)].reason == "a[low]"


def test_remarks_say_which_windows_and_which_repeats_failed(collector):
    single = Node(("b",))
    collector.scheduler.reasons = {single.again(1): "loss is NaN", Node(("a",)).again(2): "x"}
    found = {result.chain: result.reason for result in collector.results()}
    assert found[("b",)] == "b#1: loss is NaN"
    assert found[("a", "b")] == "a[low]>b"


def test_a_snapshot_counts_and_does_not_change_with_the_scheduler(collector):
    asked = collector.scheduler
    asked.over, asked.policy = "", SimpleNamespace(planned=lambda: SimpleNamespace(maximum=4))
    asked.plan.space.repeats, asked.plan.baselines = 2, lambda: (Node(("scratch",)),)
    asked.stops = {Node(("b", "a")): Stop(2, 5, 40.0, 45.0, "hopeless")}
    asked.reasons = {Node(("a", "b")).again(1): "loss is NaN"}
    made = snapshot(asked)
    assert (made.done, made.total) == (5 + 1 + 1, 4 + 2 + 2 * 1)  # chains, second seeds, baselines
    assert made.chains["a[low]>b"] == ChainState("done", "", scored(65.0, 64.0, 66.0))
    assert made.chains["b>a"] == ChainState("stopped", "hopeless")
    asked.scores.clear()
    assert len(made.chains) == 6
    assert made.notice == ""
    asked.over = "the budget of 8 h is spent"
    assert snapshot(asked).notice.startswith("the budget of 8 h is spent: ")
