"""Tune's own searchers: what holds beyond the contract, and for HyperOpt the contract's core."""

import importlib.util
import json
import subprocess
import sys

import pytest

from search.chains.node import Node
from search.policies import chosen, tune
from tests.measures import scored
from tests.search.policies.test_contract import ASK, ROOT, accuracy, make, run
from tests.search.policies.test_known_answers import RATES, TASKS, order, published
from tests.search.published import SINGLES
from trainables.errors import UserError
from trainables.spec import Score

both = pytest.mark.parametrize("name", ["tune:optuna", "tune:hyperopt"])


@both
def test_it_begins_with_the_singles(name: str) -> None:
    assert set(order(make(name, 4, tasks=TASKS))[:3]) == set(SINGLES)


@both
def test_it_finds_the_window_that_matters(name: str) -> None:
    """Only odc's upper rates are any good: most of what is asked should come to use them."""

    def outcome(p: Node) -> Score:
        return scored(published(p).value - 20 * (p.window("odc") != "high"), 0, 0)

    asked = run(make(name, 30, tasks=TASKS, rates={**RATES, "odc": 3}), outcome)
    late = [p for p in asked[10:] if "odc" in p.chain.tasks]
    assert sum(p.window("odc") == "high" for p in late) > len(late) / 2


@both
def test_a_chain_is_one_conditional_choice(name: str) -> None:
    policy = make(name, tasks=TASKS, rates=RATES)
    assert isinstance(policy, tune.Plugin)
    single, pair = Node.parse("odc"), Node.parse("odc>moco[low]")
    assert policy._point(single) == {
        "next relative_location,moco,odc": 2, "window odc": 0, "next relative_location,moco": 0,
    }  # fmt: skip
    assert policy._point(pair) == {
        **policy._point(single),
        "next relative_location,moco": 2,
        "window moco": 1,
        "next relative_location": 0,
    }
    for node in (single, pair, Node.parse("odc>moco[high]>relative_location")):
        assert next(_suggested(policy, node)) == node


def _suggested(policy: tune.Plugin, node: Node):
    """What the searcher makes of the choices that stand for a node."""
    searcher = policy._searcher([policy._point(node)])
    yield tune._node(*searcher.suggest("0")["chain"])


@pytest.mark.parametrize("in_flight", [1, 3])
def test_hyperopt_resumed_at_every_cut_goes_on_as_if_never_stopped(in_flight: int) -> None:
    whole = run(make("tune:hyperopt", 14, tasks=TASKS), in_flight=in_flight)
    assert len(set(whole)) == 14
    for cut in range(0, len(whole) + 1, 3):
        policy = make("tune:hyperopt", 14, tasks=TASKS)
        policy.resume(whole[:cut], {p: accuracy(p) for p in whole[:cut]})
        rest = run(policy, in_flight=in_flight)
        assert not set(rest) & set(whole[:cut])
        assert in_flight > 1 or whole[:cut] + rest == whole


@pytest.mark.slow
def test_hyperopt_asks_the_same_in_another_process_and_other_chains_for_another_seed() -> None:
    command = [sys.executable, "-c", ASK, "tune:hyperopt", "5"]
    other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    orders = [tuple(map(str, run(make("tune:hyperopt", 12, seed=seed)))) for seed in (5, 6, 7)]
    assert tuple(json.loads(other.stdout)) == orders[0]
    assert len(set(orders)) > 1


@pytest.mark.parametrize("searcher", ["ax", "bayesopt", "bohb", "zoopt", "optun", ""])
def test_a_searcher_that_takes_no_conditional_space_is_refused_by_name(searcher: str) -> None:
    with pytest.raises(UserError) as refused:
        make("tune", params={"searcher": searcher})
    assert str(refused.value) == (
        f"policy=tune:{searcher}: must be a searcher of Tune that takes a conditional space "
        "(hyperopt, optuna); try tune:optuna"
    )


@both
def test_a_searcher_without_its_package_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=f"policy={name}: must have its package.* try uv sync"):
        make(name)


def test_the_extra_has_the_name_of_its_searcher() -> None:
    assert importlib.util.find_spec("hyperopt")
    assert "hyperopt = [" in (ROOT / "pyproject.toml").read_text()


def test_the_option_names_policy_and_searcher() -> None:
    assert chosen("tune:optuna") == ["policy=tune", "policy.params.searcher=optuna"]
    assert chosen("tpe") == ["policy=tpe"]
    assert chosen("tune:") == ["policy=tune", "policy.params.searcher="]
    assert chosen(None) == []
