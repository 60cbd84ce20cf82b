"""Stopped chains and further seeds: what holds of every policy, and what adaptive learns."""

import numpy as np
import pytest

from search.chains.chain import Chain
from search.chains.node import Node
from search.policies import Policy
from tests.measures import BALANCED, scored
from tests.search.policies.test_adaptive import LETTERS, adaptive
from tests.search.policies.test_contract import accuracy, every_policy, make
from trainables.spec import Score

both = pytest.mark.parametrize("name", ["tune:optuna", "tune:hyperopt"])


def stops(node: Node) -> bool:
    return len(node.chain.tasks) > 1 and node.chain.tasks[-1] in ("odc", "rotation")


def play(policy: Policy) -> list[Node]:
    asked = []
    while (node := policy.ask()) is not None:
        asked.append(node)
        if stops(node):
            policy.bounded(node, 41.5)
        else:
            policy.tell(node, accuracy(node))
    assert policy.finished()
    return asked


@every_policy
def test_a_stopped_chain_has_children_and_is_never_recommended(name: str) -> None:
    policy = make(name)
    asked = play(policy)
    stopped = [node for node in asked if stops(node)]
    assert stopped or name == "curriculum"
    assert len(asked) == len(set(asked))
    assert policy.in_flight() == ()
    assert not stops(policy.best())
    assert all(policy.value(p) is None and policy.bound(p) == 41.5 for p in stopped)
    assert not any(policy.failed(p) for p in stopped)
    if name == "exhaustive":
        assert any(p.parent() in stopped for p in asked)
    with pytest.raises(AssertionError, match="told before"):
        policy.bounded(asked[0], 30.0)


@every_policy
def test_resumed_with_bounds_it_goes_on_as_if_never_stopped(name: str) -> None:
    whole = play(make(name, 9, max_length=2))
    for cut in range(len(whole) + 1):
        policy = make(name, 9, max_length=2)
        told = {p: accuracy(p) for p in whole[:cut] if not stops(p)}
        policy.resume(whole[:cut], told, {p: 41.5 for p in whole[:cut] if stops(p)})
        assert whole[:cut] + play(policy) == whole


@both
def test_tunes_searchers_take_a_bound(name: str) -> None:
    policy = make(name, 12)
    assert len(play(policy)) == 12


@every_policy
def test_further_seeds_decide(name: str) -> None:
    """The luckiest first seed falls behind; an effect that both have in common decides nothing."""
    policy = make(name, tasks=("odc", "moco", "swav"), max_length=1)
    first = {"odc": 60.0, "moco": 58.0, "swav": 50.0}
    while (node := policy.ask()) is not None:
        policy.tell(node, exactly(first[str(node)]))
    odc, moco = Node.parse("odc"), Node.parse("moco")
    assert policy.best() == policy.best({}) == odc
    assert policy.best({odc: [exactly(50.0)] * 2, moco: [exactly(58.0)] * 2}) == moco
    assert policy.best({odc: [exactly(40.0)]}) == odc  # the seed may be hard for all
    assert policy.best() == odc


def exactly(value: float) -> Score:
    return scored(value, value - 0.1, value + 0.1)


def test_more_seeds_are_less_noise() -> None:
    """Ten seeds of a wide interval outweigh what the model expects; one does not."""
    policy = adaptive(LETTERS[:3], threshold=0)
    while (node := policy.ask()) is not None:
        value = {"a": 60.0, "b": 65.0, "c": 70.0}[node.chain.tasks[-1]]
        lucky = node == Node.parse("b>a")
        policy.tell(node, scored(74.0, 64.0, 84.0) if lucky else exactly(value))
    assert policy.best().chain.tasks[-1] == "c"
    again = {Node.parse("b>a"): [scored(74.0, 64.0, 84.0)] * 99}
    again |= {p: [exactly(policy.value(p))] * 99 for p in policy.means() if p not in again}
    assert policy.best(again) == Node.parse("b>a")


def told(policy: Policy, scores: dict[str, float]) -> None:
    for node in [policy.ask() for _ in scores]:
        value = scores["".join(node.chain.tasks)]
        policy.tell(node, scored(value, value - 2, value + 2))


def test_a_low_bound_lowers_what_ends_alike_and_a_high_one_changes_nothing() -> None:
    expected = []
    for bound in (None, 200.0, 50.0):
        policy = adaptive(LETTERS[:3], threshold=0)
        told(policy, {"a": 60.0, "b": 62.0, "c": 70.0})
        stopped = policy.ask()
        if bound is not None:
            policy.bounded(stopped, bound)
        tasks = stopped.chain.tasks
        other = Node(Chain((*(x for x in LETTERS[:3] if x not in tasks), tasks[-1])))
        mean = policy._current_view().belief.mean()
        expected.append(mean[policy._row[other.chain]])
    np.testing.assert_allclose(expected[1], expected[0], atol=1e-3)
    assert expected[2] < expected[0] - 1


def test_a_probe_speaks_for_a_chain_in_flight() -> None:
    expected = []
    for probe in (None, 20.0, 40.0):
        policy = adaptive(LETTERS, threshold=0)
        asked = [policy.ask() for _ in LETTERS]
        for node in asked:
            policy.tell(node, exactly(50.0 + LETTERS.index(node.chain.tasks[0])))
        asked += [policy.ask() for _ in range(3)]
        for node in asked[4:6]:
            policy.tell(node, exactly(56.0))
        for node in asked[:6]:
            value = policy.value(node) - 25 + 0.1 * asked.index(node)
            policy.probed(node, Score("linear", {"linear": BALANCED.measure(value, 0, 0)}))
        if probe is not None:
            policy.probed(asked[6], Score("linear", {"linear": BALANCED.measure(probe, 0, 0)}))
        expected.append(policy._current_view().belief.mean()[policy._row[asked[6].chain]])
    assert expected[1] < expected[0] < expected[2]
