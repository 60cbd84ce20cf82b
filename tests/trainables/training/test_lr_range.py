"""The LR policies on made-up runs: what is chosen, what it costs, what is forgotten."""

import math

import pytest

from trainables.errors import StageFailed
from trainables.spec import LRPolicy
from trainables.training import lr_range

RANGE = (0.01, 0.03, 0.1, 0.3)


class Runs:
    """Rates whose score is that of a known curve at the step they got to."""

    def __init__(self, score):
        self.score, self.steps, self.dropped = score, {}, []

    def advance(self, rate, until):
        assert rate not in self.dropped
        assert until > self.steps.get(rate, 0)
        self.steps[rate] = until
        return self.score(rate, until)

    def choose(self, name, rates=RANGE, steps=40, grow=0):
        policy = LRPolicy(rates, steps, name, grow=grow)
        chosen = lr_range.choose(policy, steps, self.advance, self.dropped.append)
        return chosen, sum(self.steps.values()), lr_range.planned(policy, steps)


def peak(rate, until):
    return -abs(math.log(rate / 0.04)) + 0.001 * until


@pytest.mark.parametrize("name", lr_range.POLICIES)
def test_the_best_rate_is_chosen_and_the_price_is_the_planned_one(name):
    runs = Runs(peak)
    chosen, steps, planned = runs.choose(name)
    if name == "optuna":
        assert 0.01 <= chosen <= 0.3
        assert peak(chosen, 0) >= max(peak(rate, 0) for rate in runs.steps)
    else:
        assert chosen == 0.03
    assert steps == planned


def test_halving_costs_less_than_three_quarters_and_forgets_every_trial():
    runs = Runs(peak)
    chosen, steps, _ = runs.choose("halving")
    whole = Runs(peak).choose("full_range")[1]
    assert steps < 0.75 * whole
    assert sorted(runs.dropped) == list(RANGE)
    assert runs.dropped[-1] == chosen


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (1, []),
        (2, [(40, 1)]),
        (3, [(25, 2), (40, 1)]),
        (4, [(10, 3), (25, 2), (40, 1)]),
        (8, [(10, 5), (20, 3), (30, 2), (40, 1)]),
    ],
)
def test_rungs_lie_late_and_leave_two_thirds(rates, expected):
    assert lr_range.rungs(rates, 40) == expected


def test_halving_is_wrong_where_the_order_turns_late():
    """What full_range is kept for."""

    def late(rate, until):
        return rate if until >= 40 else -rate

    assert Runs(late).choose("full_range")[0] == 0.3
    assert Runs(late).choose("halving")[0] == 0.03


def around(best):
    return lambda rate, until: -abs(math.log(rate / best))


@pytest.mark.parametrize(
    ("best", "chosen", "tried"),
    [
        (0.1, 0.1, ()),  # inside: nothing is added
        (0.3, 0.3, (0.932,)),  # the further rate is worse
        (1.0, 0.932, (0.932, 2.9)),  # the second is worse than the first
        (9.0, 2.9, (0.932, 2.9)),  # no more than `grow`
        (0.01, 0.01, (0.00322,)),
        (1e-4, 0.00104, (0.00322, 0.00104)),
    ],
)
@pytest.mark.parametrize("name", ["halving", "full_range"])
def test_a_range_grows_by_its_own_factor_where_its_end_wins(name, best, chosen, tried):
    runs = Runs(around(best))
    assert runs.choose(name, grow=2)[0] == chosen
    assert tuple(rate for rate in runs.steps if rate not in RANGE) == tried
    assert sorted(runs.dropped) == sorted({*RANGE, *tried})
    assert all(runs.steps[rate] == 40 for rate in tried)


@pytest.mark.parametrize("rates", [(0.1,), RANGE])
def test_nothing_grows_from_one_rate_or_if_all_failed(rates):
    policy, asked = LRPolicy(rates, 40, "full_range", grow=2), []

    def advance(rate, _):
        asked.append(rate)
        return -math.inf

    lr_range.choose(policy, 40, advance, lambda rate: None)
    assert tuple(asked) == rates


@pytest.mark.parametrize("name", ["halving", "full_range"])
def test_a_failed_rate_loses_and_a_tie_goes_to_the_lower_one(name):
    assert Runs(lambda rate, until: -math.inf if rate < 0.1 else 1.0).choose(name)[0] == 0.1


def test_a_rate_that_halving_dropped_wins_where_all_that_went_on_fail():
    """0.01 is the worst until they diverge; nothing grows beyond it, as its end was not seen."""

    def score(rate, until):
        return rate if rate == 0.01 or until < 30 else -math.inf

    runs = Runs(score)
    assert runs.choose("halving", (0.01, 0.03, 0.1), grow=2)[0] == 0.01
    assert runs.steps == {0.01: 25, 0.03: 40, 0.1: 40}


def test_optuna_asks_the_same_again():
    first, second = Runs(peak), Runs(peak)
    assert first.choose("optuna") == second.choose("optuna")
    assert list(first.steps) == list(second.steps)


@pytest.mark.parametrize("name", sorted(lr_range.POLICIES))
def test_further_rates_of_a_grown_range_are_planned_in_full(name):
    policy = LRPolicy(RANGE, 40, name, grow=2)
    assert lr_range.planned(policy, 40, more=2) == lr_range.planned(policy, 40) + 2 * 40


def test_a_range_of_one_costs_nothing_and_all_failed_names_the_first_reason():
    assert lr_range.planned(LRPolicy((0.1,), 40), 40, more=2) == 0
    lr_range.refuse_all_failed({0.1: "", 0.3: "loss is nan"})
    with pytest.raises(StageFailed, match=r"\(0\.1, 0\.3\): loss is inf"):
        lr_range.refuse_all_failed({0.1: "loss is inf", 0.3: "loss is nan"})


def test_edges():
    assert lr_range.at_edge(0.01, RANGE)
    assert lr_range.at_edge(0.2999, RANGE)
    assert not lr_range.at_edge(0.1, RANGE)
    assert not lr_range.at_edge(0.1, (0.1,))
