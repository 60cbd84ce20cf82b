"""The policy adaptive on cases with a known right answer."""

import itertools
import re

import numpy as np
import pytest

from search.chains.chain import Chain
from search.chains.node import Node
from search.landscape import draw
from search.policies import Policy
from tests.measures import scored
from tests.search.policies.test_contract import make, run
from tests.search.published import SCORES, SINGLES
from trainables.errors import UserError
from trainables.spec import Score

LETTERS = ("a", "b", "c", "d")


def published(node: Node) -> Score:
    accuracy = SCORES[str(node.chain)]
    return scored(accuracy, accuracy, accuracy)


def adaptive(tasks: tuple[str, ...], budget: int | None = None, seed: int = 0, **params) -> Policy:
    return make("adaptive", budget, seed, tasks=tasks, max_length=len(tasks), params=params)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tasks", itertools.permutations(SINGLES), ids=">".join)
def test_it_finds_the_published_best_within_seven_stages(tasks: tuple, seed: int) -> None:
    policy = adaptive(tasks, seed=seed)
    asked = [str(node.chain) for node in run(policy, published)]
    assert asked.index("odc>moco") < 7
    assert len(asked) < 15
    assert policy.best() == Node.parse("odc>moco")


def test_the_worst_single_is_no_reason_to_prune_what_follows() -> None:
    policy = adaptive(tuple(SINGLES))
    for node in (policy.ask(), policy.ask(), policy.ask()):
        assert node
        policy.tell(node, published(node))
    assert min(SINGLES, key=lambda task: SINGLES[task]) == "odc"
    assert not any(chain.tasks[0] == "odc" for chain in policy.pruned())


def test_pruned_says_the_probability_in_words() -> None:
    policy = adaptive(tuple(SINGLES))
    asked = {node.chain for node in run(policy, published)}
    reasons = policy.pruned()
    assert set(reasons) == set(map(Chain.parse, SCORES)) - asked
    wanted = r"beats odc>moco by 0.5 points with probability (\d+%|below 1 %)"
    assert all(re.fullmatch(wanted, reason) for reason in reasons.values())


def last_decides(chain: Chain) -> float:
    return 60.0 + 5 * LETTERS.index(chain.tasks[-1])


def test_it_stops_when_nothing_can_win() -> None:
    """Only the last task counts: what ends in d is all the same, and soon known to be."""
    asked = run(adaptive(LETTERS, margin=2), lambda p: exactly(last_decides(p.chain)))
    assert 4 < len(asked) < 15


def test_a_threshold_of_zero_never_stops() -> None:
    assert len(run(adaptive(LETTERS[:3], threshold=0), published_like)) == 15


def published_like(node: Node) -> Score:
    return exactly(last_decides(node.chain))


def exactly(value: float) -> Score:
    return scored(value, value, value)


def test_a_wide_margin_stops_sooner() -> None:
    drawn = draw(LETTERS, 1)
    costs = [
        len(run(adaptive(LETTERS, margin=margin), lambda p: drawn.observed[p.chain]))
        for margin in (0.2, 5.0)
    ]
    assert costs[0] > costs[1]


def test_it_recommends_no_lucky_number() -> None:
    """One chain ending in a, poor elsewhere, has the highest number, and a very wide interval."""
    policy = adaptive(LETTERS[:3], threshold=0)

    def outcome(node: Node) -> Score:
        if str(node) == "b>a":
            return scored(71.0, 51.0, 91.0)
        value = {"a": 60.0, "b": 65.0, "c": 70.0}[node.chain.tasks[-1]]
        return scored(value, value - 0.4, value + 0.4)

    asked = run(policy, outcome)
    assert len(asked) == 15
    best = policy.best()
    assert best
    assert best.chain.tasks[-1] == "c"
    assert Policy.best(policy) == Node.parse("b>a")


def test_the_order_of_telling_changes_nothing() -> None:
    drawn, found = draw(LETTERS, 2), []
    for order in (lambda asked: asked, lambda asked: asked[::-1]):
        policy = adaptive(LETTERS)
        asked = [policy.ask() for _ in LETTERS]
        for node in order(asked):
            assert node
            policy.tell(node, drawn.observed[node.chain])
        found.append((policy.ask(), policy.ask(), policy.best(), policy.pruned()))
    assert found[0] == found[1]


def test_questions_in_flight_differ_and_begin_at_what_is_known() -> None:
    drawn, policy = draw(LETTERS, 4), adaptive(LETTERS)
    for _ in LETTERS:
        node = policy.ask()
        assert node
        policy.tell(node, drawn.observed[node.chain])
    flying = [policy.ask() for _ in range(6)]
    assert len(set(flying)) == 6
    assert all(node and len(node.chain.tasks) == 2 for node in flying)


def test_at_equal_cost_it_beats_random() -> None:
    regret: dict[str, list[float]] = {"adaptive": [], "random": []}
    for seed, kind in itertools.product(range(2000, 2030), regret):
        drawn = draw(LETTERS, seed)
        policy = make(kind, 16, seed, tasks=LETTERS, max_length=4)
        run(policy, lambda p, drawn=drawn: drawn.observed[p.chain])
        best = policy.best()
        assert best
        regret[kind].append(max(drawn.true.values()) - drawn.true[best.chain])
    assert np.mean(regret["adaptive"]) < 0.6 * np.mean(regret["random"])


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"margin": -1}, "policy.params.margin=-1: must be a number from 0 to 100"),
        ({"margin": "much"}, "policy.params.margin=much: must"),
        ({"threshold": 1.5}, "policy.params.threshold=1.5: must be a number from 0 to 1"),
        ({"threshold": None}, "policy.params.threshold=null: must"),
    ],
)
def test_it_knows_its_parameters(params: dict, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        adaptive(LETTERS, **params)
