"""Every policy on the published ISIC-2019 table, worked out by hand."""

from collections.abc import Sequence

import pytest

from search.chains.chain import Chain
from search.chains.node import Node
from search.policies import Planned, Policy
from tests.measures import scored
from tests.search.policies.test_contract import make, run
from tests.search.published import SCORES, SINGLES
from trainables.errors import UserError
from trainables.spec import Score

TASKS = ("relative_location", "moco", "odc")
RATES = {"relative_location": 3, "moco": 3, "odc": 1}


def published(node: Node) -> Score:
    accuracy = SCORES[str(node.chain)]
    return scored(accuracy, accuracy, accuracy)


def order(policy: Policy, in_flight: int = 1) -> list[str]:
    return [str(node) for node in run(policy, published, in_flight)]


def best(chains: Sequence[str]) -> float:
    return max(SCORES[str(Node.parse(text).chain)] for text in chains)


def test_curriculum_tries_the_seven_rising_chains_and_finds_the_best() -> None:
    policy = make("curriculum", tasks=TASKS)
    assert policy.planned() == Planned(3, 7)
    asked = order(policy)
    assert asked == [
        "relative_location",
        "moco",
        "odc",
        "odc>relative_location",
        "odc>relative_location>moco",
        "relative_location>moco",
        "odc>moco",
    ]
    assert best(asked) == best(list(SCORES)) == 75.44
    reasons = policy.pruned()
    assert len(reasons) == 8
    assert reasons[Chain(("moco", "odc"))] == "not rising: moco 72.7 > odc 63.5"
    assert reasons[Chain(("odc", "moco", "relative_location"))].startswith(
        "not rising: moco 72.7 >"
    )


def test_curriculum_tries_the_same_with_many_in_flight() -> None:
    asked = order(make("curriculum", tasks=TASKS), in_flight=4)
    assert set(asked) == set(order(make("curriculum", tasks=TASKS)))


def test_curriculum_starts_a_pair_before_the_last_single_is_known() -> None:
    policy = make("curriculum", tasks=TASKS)
    relative_location, moco, odc = policy.ask(), policy.ask(), policy.ask()
    assert policy.ask() is None
    assert relative_location
    assert moco
    policy.tell(relative_location, published(relative_location))
    assert policy.ask() is None
    policy.tell(moco, published(moco))
    assert policy.ask() == Node.parse("relative_location>moco")
    assert odc in policy.in_flight()


def test_curriculum_takes_a_tie_for_no_rise() -> None:
    policy = make("curriculum", tasks=("a", "b", "c"))
    values = {"a": 50.0, "b": 50.0, "c": 60.0}
    asked = run(policy, lambda p: scored(values.get(p.chain.tasks[-1], 0), 0, 0))
    assert {str(p) for p in asked} == {"a", "b", "c", "a>c", "b>c"}
    assert policy.pruned()[Chain(("a", "b"))] == "not rising: a 50.0 = b 50.0"


def test_curriculum_drops_a_failed_single() -> None:
    policy = make("curriculum", tasks=TASKS)
    asked = run(policy, lambda p: None if str(p) == "moco" else published(p))
    assert {str(p.chain) for p in asked} == {*SINGLES, "odc>relative_location"}
    assert policy.pruned()[Chain(("odc", "moco"))] == "the single moco failed"


def test_curriculum_goes_for_the_best_of_equally_long_ones() -> None:
    """Singles a < b < c < d, at most two long: the pair of the best two first."""
    policy = make("curriculum", tasks=("a", "b", "c", "d"), max_length=2)
    value = {"a": 10.0, "b": 20.0, "c": 30.0, "d": 40.0}
    asked = run(policy, lambda p: scored(value[p.chain.tasks[-1]], 0, 0))
    assert [str(p) for p in asked[4:]] == ["c>d", "b>d", "a>d", "b>c", "a>c", "a>b"]


def test_exhaustive_goes_breadth_first() -> None:
    policy = make("exhaustive", tasks=TASKS)
    asked = order(policy)
    assert len(asked) == 15
    assert [text.count(">") for text in asked] == [0] * 3 + [1] * 6 + [2] * 6
    assert policy.planned() == Planned(15, 15)
    assert policy.pruned() == {}
    assert make("exhaustive", 5, tasks=TASKS).planned().minimum == 5


def test_random_reaches_every_chain() -> None:
    assert set(order(make("random", tasks=TASKS))) == set(SCORES)


def test_tpe_begins_with_the_singles_and_beats_chance() -> None:
    found = []
    for seed in range(10):
        asked = order(make("tpe", 9, seed, tasks=TASKS))
        assert set(asked[:3]) == set(SINGLES)
        found.append(best(asked))
    assert sum(found) / len(found) > 75.0


def test_tpe_without_a_budget_asks_as_often_as_there_are_orderings() -> None:
    assert len(order(make("tpe", tasks=TASKS, rates=RATES))) == 15
    assert set(order(make("tpe", tasks=TASKS))) == set(SCORES)


def test_tpe_tries_windows_only_where_they_differ() -> None:
    asked = run(make("tpe", 40, tasks=TASKS, rates=RATES), published)
    assert all(not p.windows for p in asked[:3])
    assert {w for p in asked for w in p.windows} == {
        (task, window) for task in ("relative_location", "moco") for window in ("low", "high")
    }
    assert make("tpe", tasks=TASKS, rates=RATES, params={"windows": ["full"]}).windows("moco") == [
        "full"
    ]


def test_tpe_finds_the_window_that_matters() -> None:
    """Only odc's upper rates are any good: most of what is asked should come to use them."""

    def outcome(p: Node) -> Score:
        return scored(published(p).value - 20 * (p.window("odc") != "high"), 0, 0)

    asked = run(make("tpe", 40, tasks=TASKS, rates={**RATES, "odc": 3}), outcome)
    late = [p for p in asked[10:] if "odc" in p.chain.tasks]
    assert sum(p.window("odc") == "high" for p in late) > len(late) / 2


def test_tpe_asks_to_the_last_node() -> None:
    """3 tasks with 1, 3 and 3 windows: every node of the tree once, then the end."""
    asked = run(make("tpe", 1000, tasks=TASKS, rates=RATES, params={"tries": 1}), published)
    assert len(set(asked)) == len(asked) == (3 + 3 + 1) + 2 * (9 + 3 + 3) + 6 * 9


def test_tpe_knows_its_windows() -> None:
    with pytest.raises(UserError, match=r"windows=.*must be .*one of full, low, high"):
        make("tpe", tasks=TASKS, params={"windows": ["hihg"]})


def test_a_chain_that_no_row_of_the_table_has_is_not_tried() -> None:
    known = {Chain.parse(text) for text in SCORES} - {Chain(("odc",))}
    policy = make("curriculum", tasks=TASKS, only=known)
    assert set(order(policy)) == {"relative_location", "moco", "relative_location>moco"}
    assert policy.pruned()[Chain(("odc", "moco"))] == "not among the chains that can be tried"
