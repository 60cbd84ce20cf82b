"""One contract over all policies: whatever is asked in whatever order, these things hold."""

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.chains.chain import Chain, enumerate_chains
from search.chains.node import Node
from search.policies import Policy
from tests.measures import scored
from trainables.plugins import available, load
from trainables.spec import Score

ROOT = Path(__file__).resolve().parents[3]
TASKS = ("rotation", "moco", "odc", "swav")
NAMES = available("search.policies")
Outcome = Callable[[Node], Score | None]
every_policy = pytest.mark.parametrize("name", NAMES)


def make(name: str, budget: int | None = None, seed: int = 0, **options: Any) -> Policy:
    name, _, searcher = name.partition(":")
    path = ROOT / "spaces" / "policy" / f"{name}.yaml"
    params = {**yaml.safe_load(path.read_text())["params"], **options.pop("params", {})}
    params |= {"searcher": searcher} if searcher else {}
    tasks, length = options.pop("tasks", TASKS), options.pop("max_length", 3)
    return load("search.policies", name)(tasks, length, budget, seed, params, **options)


def accuracy(node: Node) -> Score:
    """Some number for every node, the same in every process; singles differ."""
    value = random.Random(str(node)).uniform(40, 60)
    return scored(value, value - 1, value + 1)


def no_odc_then_moco(node: Node) -> Score | None:
    """Singles rise from rotation to swav, so that `curriculum` asks for odc>moco too."""
    if node.chain.tasks[:2] == ("odc", "moco"):
        return None
    rising = {"rotation": 40.0, "odc": 45.0, "moco": 50.0, "swav": 55.0}
    value = rising[node.chain.tasks[-1]] + len(node.chain.tasks)
    return scored(value, value - 1, value + 1)


def run(policy: Policy, outcome: Outcome = accuracy, in_flight: int = 1, seed: int = 0) -> Any:
    """Drive it to the end; what was asked, in order. Checks what holds at every single step."""
    shuffle, running = random.Random(seed), list(policy.in_flight())
    asked: list[Node] = []
    told: dict[Node, Score | None] = {}
    while not (policy.finished() and not running):
        while len(running) < in_flight and (node := policy.ask()) is not None:
            check(node, asked, told, policy)
            asked.append(node)
            running.append(node)
        assert running, "finished() is false, yet nothing is asked and nothing is in flight"
        done = running.pop(shuffle.randrange(len(running)))
        told[done] = outcome(done)
        policy.tell(done, told[done])
    assert policy.ask() is None
    return asked


def check(node: Node, asked: list, told: Mapping, policy: Policy) -> None:
    assert node not in asked
    assert len(node.chain.tasks) <= policy.max_length
    assert set(node.chain.tasks) <= set(policy.tasks)
    parent = node.parent()
    known = told if parent in told else {parent: policy.value(parent)} if parent else {}
    assert parent is None or known[parent] is not None


@every_policy
@pytest.mark.parametrize("in_flight", [1, 3])
def test_runs_to_its_end_and_accounts_for_every_chain(name: str, in_flight: int) -> None:
    policy = make(name)
    planned = policy.planned()
    asked = run(policy, in_flight=in_flight)
    assert planned.minimum <= len(asked) <= planned.maximum
    tried, pruned = {node.chain for node in asked}, policy.pruned()
    assert tried | set(pruned) == set(enumerate_chains(TASKS, 3))
    assert not tried & set(pruned)
    assert all(pruned.values())


@pytest.mark.parametrize("name", ["tpe", "tune"])
def test_a_budget_beyond_all_chains_goes_to_their_windows(name: str) -> None:
    policy = make(name, 30, tasks=TASKS[:2], max_length=2, rates={t: 4 for t in TASKS[:2]})
    most = 2 * 3 + 2 * 3 * 3  # two singles and two pairs, three windows a task
    assert policy.planned().maximum == most
    assert policy.planned().maximum >= len(run(policy, in_flight=1)) > 4


@every_policy
@pytest.mark.parametrize("budget", [1, 3, 7])
@pytest.mark.parametrize("in_flight", [1, 3])
def test_keeps_to_the_budget(name: str, budget: int, in_flight: int) -> None:
    policy = make(name, budget)
    assert policy.planned().maximum <= budget
    asked = run(policy, in_flight=in_flight)
    assert len(asked) == min(budget, policy.planned().maximum)
    assert set(policy.pruned()) | {p.chain for p in asked} == set(enumerate_chains(TASKS, 3))


@every_policy
def test_a_spent_budget_is_the_end_whatever_is_in_flight(name: str) -> None:
    policy = make(name, 2)
    first, second = policy.ask(), policy.ask()
    assert first != second
    assert policy.finished()
    assert policy.ask() is None
    assert policy.in_flight() == (first, second)


@every_policy
def test_waits_while_the_only_single_is_in_flight(name: str) -> None:
    policy = make(name, tasks=("odc",), max_length=1)
    node = policy.ask()
    assert policy.ask() is None
    assert policy.finished() == name.startswith(("tpe", "tune"))  # their budget is then one
    assert node is not None
    policy.tell(node, accuracy(node))
    assert policy.finished()


@every_policy
@pytest.mark.parametrize("in_flight", [1, 3])
def test_descendants_of_a_failed_chain_are_never_asked(name: str, in_flight: int) -> None:
    policy = make(name)
    asked = run(policy, no_odc_then_moco, in_flight)
    failed = [p for p in asked if no_odc_then_moco(p) is None]
    assert all(len(node.chain.tasks) == 2 for node in failed)
    assert failed or name not in ("curriculum", "exhaustive")
    longer = Chain(("odc", "moco", "swav"))
    if failed and not policy.pruned().get(longer, "").startswith("the budget"):
        assert policy.pruned()[longer] == "odc>moco failed"


@every_policy
@pytest.mark.parametrize("bad", [None, scored(math.nan, 0, 0), scored(math.inf, 0, 0)])
def test_a_score_that_is_no_number_has_failed(name: str, bad: Score | None) -> None:
    policy = make(name)
    asked = run(policy, lambda p: bad if p.chain.tasks[0] == "odc" else accuracy(p))
    assert {p.chain for p in asked if p.chain.tasks[0] == "odc"} == {Chain(("odc",))}
    assert policy.pruned()[Chain(("odc", "moco"))].endswith("odc failed")


@every_policy
@pytest.mark.parametrize("in_flight", [1, 3])
def test_all_singles_failing_ends_the_search(name: str, in_flight: int) -> None:
    policy = make(name)
    assert all(len(p.chain.tasks) == 1 for p in run(policy, lambda _: None, in_flight))
    assert len(policy.pruned()) == 40 - len(TASKS)


@every_policy
def test_only_what_can_be_tried_is_tried(name: str) -> None:
    lone = Chain.parse("rotation>odc")
    only = {*map(Chain.parse, ("moco", "odc", "odc>moco", "moco>odc")), lone}
    policy = make(name, only=only)
    assert {p.chain for p in run(policy)} <= only - {lone}
    assert policy.pruned()[lone]
    assert policy.planned().maximum <= 4


@every_policy
def test_equal_accuracies_are_no_trouble(name: str) -> None:
    policy = make(name)
    assert len(run(policy, lambda _: scored(50.0, 50.0, 50.0))) >= policy.planned().minimum


STARTS = ("scratch", "imagenet")


@pytest.mark.parametrize("name", ["exhaustive", "random", "tpe", "tune", "tune:hyperopt"])
@pytest.mark.parametrize("in_flight", [1, 3])
def test_chains_of_all_starts_are_one_tree(name: str, in_flight: int) -> None:
    policy = make(name, tasks=TASKS[:3], max_length=2, starts=STARTS, params=FULL.get(name, {}))
    asked = run(policy, in_flight=in_flight)
    assert policy.planned().maximum == len(asked) == 2 * 9
    assert {p.chain for p in asked} == set(enumerate_chains(TASKS[:3], 2, STARTS))
    assert policy.pruned() == {}


FULL = {"tpe": {"windows": ["full"]}, "tune": {"windows": ["full"]}}
FULL["tune:hyperopt"] = FULL["tune"]


def from_imagenet(node: Node) -> Score:
    """ImageNet is 10 points ahead; moco is the better single there, odc from scratch."""
    better = "moco" if node.chain.start == "imagenet" else "odc"
    ahead = 10.0 * (node.chain.start == "imagenet") + 2.0 * (node.chain.tasks[-1] == better)
    value = 50.0 + ahead + len(node.chain.tasks)
    return scored(value, value - 1, value + 1)


@pytest.mark.parametrize("name", ["curriculum", "adaptive"])
def test_a_heuristic_compares_singles_of_one_start(name: str) -> None:
    policy = make(name, tasks=("moco", "odc"), max_length=2, starts=STARTS)
    asked = [str(p) for p in run(policy, from_imagenet)]
    singles = ["moco", "odc", "imagenet:moco", "imagenet:odc"]
    assert asked[:4] == singles
    assert asked[4] == "imagenet:odc>moco"
    assert str(policy.best()) == "imagenet:odc>moco"
    if name == "curriculum":
        assert asked[5:] == ["moco>odc"]
        assert str(policy.pruned()[Chain(("odc", "moco"))]) == "not rising: odc 53.0 > moco 51.0"
    assert policy.planned().minimum == 4


@every_policy
@pytest.mark.parametrize("in_flight", [1, 3])
def test_max_starts_grows_from_the_better_start_alone(name: str, in_flight: int) -> None:
    policy = make(name, tasks=("moco", "odc"), max_length=2, starts=STARTS, max_starts=1)
    assert policy.waits
    assert (policy.ask(), policy.finished(), policy.planned().maximum <= 4) == (None, False, True)
    policy.grow({"scratch": 30.0, "imagenet": 40.0})
    asked = run(policy, from_imagenet, in_flight)
    assert {p.chain.start for p in asked} == {"imagenet"}
    assert policy.planned().minimum <= len(asked) <= policy.planned().maximum <= 4
    reasons = policy.pruned()
    assert reasons[Chain(("moco",))] == "max_starts=1: its start is behind imagenet"
    assert reasons.keys() | {p.chain for p in asked} == {
        *enumerate_chains(("moco", "odc"), 2, STARTS)
    }


@pytest.mark.parametrize("merits", [(30.0, math.nan), (30.0, 30.0)])
def test_a_start_without_a_probe_is_the_worst_and_a_tie_keeps_the_order(merits: tuple) -> None:
    policy = make("exhaustive", starts=STARTS, max_starts=1)
    policy.grow(dict(zip(STARTS, merits, strict=True)))
    assert policy.ask() == Node.parse("rotation")


@pytest.mark.parametrize("name", ["curriculum", "adaptive", "tpe", "random"])
def test_starts_are_chosen_again_when_resumed(name: str) -> None:
    def begun() -> Policy:
        return make(name, tasks=("moco", "odc"), max_length=2, starts=STARTS, max_starts=1)

    merits, whole = {"scratch": 30.0, "imagenet": 40.0}, begun()
    whole.grow(merits)
    asked = run(whole, from_imagenet)
    for cut in range(1, len(asked) + 1):
        policy = begun()
        policy.resume(asked[:cut], {p: from_imagenet(p) for p in asked[:cut]})
        assert policy.ask() is None
        policy.grow(merits)
        assert asked[:cut] + run(policy, from_imagenet) == asked


ASK = """
import json, sys
sys.path.insert(0, ".")
from tests.search.policies.test_contract import make, run
print(json.dumps([str(p) for p in run(make(sys.argv[1], 12, seed=int(sys.argv[2])))]))
"""


@every_policy
def test_the_same_seed_asks_the_same_in_another_process(name: str) -> None:
    command = [sys.executable, "-c", ASK, name, "5"]
    other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(other.stdout) == [str(p) for p in run(make(name, 12, seed=5))]


@pytest.mark.parametrize("name", ["random", "tpe", "tune"])
def test_another_seed_asks_in_another_order(name: str) -> None:
    assert len({tuple(run(make(name, 10, seed=seed))) for seed in range(4)}) > 1


@every_policy
@pytest.mark.parametrize("budget", [None, 9])
@pytest.mark.parametrize("outcome", [accuracy, no_odc_then_moco])
def test_resumed_at_every_cut_it_goes_on_as_if_never_stopped(
    name: str, budget: int | None, outcome: Outcome
) -> None:
    whole = run(make(name, budget, max_length=2), outcome)
    for cut in range(len(whole) + 1):
        policy = make(name, budget, max_length=2)
        policy.resume(whole[:cut], {p: outcome(p) for p in whole[:cut]})
        assert whole[:cut] + run(policy, outcome) == whole


@every_policy
def test_resumed_with_results_outstanding_it_asks_nothing_twice(name: str) -> None:
    whole = run(make(name, max_length=2), in_flight=3)
    for cut in range(1, len(whole) + 1):
        untold = [p for p in whole[:cut][-2:] if not any(q.parent() == p for q in whole[:cut])]
        policy = make(name, max_length=2)
        policy.resume(whole[:cut], {p: accuracy(p) for p in whole[:cut] if p not in untold})
        assert set(policy.in_flight()) == set(untold)
        rest = run(policy, in_flight=3)
        assert not set(rest) & set(whole[:cut])
        if name != "adaptive":  # it ends when it knows enough, and results came in another order
            assert len(whole[:cut]) + len(rest) == len(whole)


@every_policy
def test_telling_the_wrong_thing_is_our_own_error(name: str) -> None:
    policy = make(name)
    node = policy.ask()
    assert node is not None
    with pytest.raises(AssertionError, match="never asked"):
        policy.tell(node.child("swav" if node.chain.tasks[0] != "swav" else "odc"), None)
    policy.tell(node, None)
    with pytest.raises(AssertionError, match="told before"):
        policy.tell(node, None)


@every_policy
def test_it_recommends_something_that_was_tried(name: str) -> None:
    policy = make(name)
    assert policy.best() is None
    asked = run(policy, no_odc_then_moco)
    best = policy.best()
    assert best in asked
    scores = [score for p in asked if (score := no_odc_then_moco(p))]
    highest = max(score.value for score in scores)
    assert policy.value(best) == highest or name == "adaptive"  # that one discounts luck


@pytest.mark.parametrize(
    ("low", "high", "sd"), [(48.04, 51.96, 1.0), (50, 50, 0), (51, 49, 0), (math.nan, 51, 0)]
)
def test_the_interval_says_how_noisy_a_score_is(low: float, high: float, sd: float) -> None:
    policy = make("exhaustive")
    node = policy.ask()
    assert node is not None
    policy.tell(node, scored(50.0, low, high))
    assert policy.noise(node) == pytest.approx(sd)


@every_policy
def test_its_yaml_names_it(name: str) -> None:
    settings = yaml.safe_load((ROOT / "spaces" / "policy" / f"{name}.yaml").read_text())
    assert settings["name"] == name
    assert set(settings) == {"name", "params"}


def test_every_yaml_has_its_policy() -> None:
    assert {path.stem for path in (ROOT / "spaces" / "policy").glob("*.yaml")} == set(NAMES)
