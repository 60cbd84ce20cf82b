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

from search.chains.chain import enumerate_chains
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
    if node.chain[:2] == ("odc", "moco"):
        return None
    rising = {"rotation": 40.0, "odc": 45.0, "moco": 50.0, "swav": 55.0}
    value = rising[node.chain[-1]] + len(node.chain)
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
    assert len(node.chain) <= policy.max_length
    assert set(node.chain) <= set(policy.tasks)
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
    assert all(len(node.chain) == 2 for node in failed)
    assert failed or name not in ("curriculum", "exhaustive")
    if failed and not policy.pruned().get(("odc", "moco", "swav"), "").startswith("the budget"):
        assert policy.pruned()["odc", "moco", "swav"] == "odc>moco failed"


@every_policy
@pytest.mark.parametrize("bad", [None, scored(math.nan, 0, 0), scored(math.inf, 0, 0)])
def test_a_score_that_is_no_number_has_failed(name: str, bad: Score | None) -> None:
    policy = make(name)
    asked = run(policy, lambda p: bad if p.chain[0] == "odc" else accuracy(p))
    assert {p.chain for p in asked if p.chain[0] == "odc"} == {("odc",)}
    assert policy.pruned()["odc", "moco"].endswith("odc failed")


@every_policy
@pytest.mark.parametrize("in_flight", [1, 3])
def test_all_singles_failing_ends_the_search(name: str, in_flight: int) -> None:
    policy = make(name)
    assert all(len(p.chain) == 1 for p in run(policy, lambda _: None, in_flight))
    assert len(policy.pruned()) == 40 - len(TASKS)


@every_policy
def test_only_what_can_be_tried_is_tried(name: str) -> None:
    only = {("moco",), ("odc",), ("odc", "moco"), ("moco", "odc"), ("rotation", "odc")}
    policy = make(name, only=only)
    assert {p.chain for p in run(policy)} <= only - {("rotation", "odc")}
    assert policy.pruned()["rotation", "odc"]
    assert policy.planned().maximum <= 4


@every_policy
def test_equal_accuracies_are_no_trouble(name: str) -> None:
    policy = make(name)
    assert len(run(policy, lambda _: scored(50.0, 50.0, 50.0))) >= policy.planned().minimum


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
        policy.tell(node.child("swav" if node.chain[0] != "swav" else "odc"), None)
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
