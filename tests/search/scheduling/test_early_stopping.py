"""Early stopping of a hopeless fine-tuning: known answers on curves of ten epochs."""

from math import inf, sqrt

import numpy as np
import pytest
from scipy.stats import norm, t

from search.scheduling.early_stopping import Noise, ceiling, judge, screen, training_noise
from tests.benchmarks.early_stopping import simulate
from tests.measures import BALANCED
from trainables.downstream.measures import MEASURES

CURVES = [
    (20.0, 30.0, 40.0, 45.0, 44.0, 46.0, 47.0, 52.5, 52.0, 50.5),  # gains 5.5 after the fourth
    (30.0, 35.0, 40.0, 50.0, 49.0, 48.0, 47.0, 46.0, 45.0, 44.0),  # loses after it
    (10.0, 20.0, 30.0, 35.0, 36.0, 37.0, 38.0, 39.0, 40.0, 40.2),
]
BEST = ("moco", 52.3)
SURE = 10**6  # degrees of freedom: Student's t is normal
NOISE = Noise(2.0 / (3 * sqrt(2)), SURE)  # explains 2 points between two trainings


def stop(
    value=41.0, epoch=4, epochs=10, curves=CURVES, leader=BEST, noise=NOISE, objective=BALANCED
):
    return judge(value, epoch, epochs, curves, leader, noise, 3.0, objective)


def test_the_ceiling_is_the_value_now_and_the_largest_gain_of_any_curve_to_its_end():
    assert ceiling(41.0, 4, CURVES) == 46.5
    assert ceiling(41.0, 8, CURVES) == pytest.approx(42.2)
    assert ceiling(41.0, 8, CURVES[:2]) == pytest.approx(39.0), "all lose: the end is scored"


@pytest.mark.parametrize("drift", [3.0, -3.0])
def test_a_curve_like_the_others_ends_above_the_ceiling_in_one_of_n_and_one_cases(drift):
    """Random walks that rise or fall, nine finished ones and a new one."""
    walks = np.random.default_rng(0).normal(drift, 5.0, (4000, 10, 8)).cumsum(2)
    above = [new[-1] > ceiling(new[4], 5, others) for new, *others in walks]
    assert np.mean(above) == pytest.approx(1 / 10, abs=0.02)


def test_what_cannot_reach_the_best_is_stopped_and_says_why():
    found = stop()
    assert (found.epoch, found.epochs, found.best, found.ceiling) == (4, 10, 41.0, 46.5)
    assert found.reason == (
        "after evaluation 4 of 10 at 41.00: ends at best at 46.50 by the gains of the other "
        "curves, moco has 52.30; noise explains 2.00 (training noise: sd 0.47, degrees of freedom "
        "1000000; early_stop=3)"
    )


def test_a_lower_objective_is_judged_by_its_merit_and_told_as_it_is():
    curves = [tuple(-value for value in (60, 50, 40, 35, 30, 29, 28, 27, 26, 25))] * 3
    found = stop(value=-45.0, curves=curves, leader=("moco", -20.0), objective=MEASURES["ece"])
    assert (found.best, found.ceiling) == (45.0, 35.0)
    assert "at 45.00: ends at best at 35.00 by the gains" in found.reason
    assert "moco has 20.00; noise explains 2.00" in found.reason


@pytest.mark.parametrize(
    "more",
    [
        {"value": 44.81},  # 44.81 + 5.5 + 2.0 is just above the best
        {"noise": Noise(2.0, SURE)},
        {"noise": Noise(NOISE.sd, 2)},
        {"curves": CURVES[:2]},
        {"epoch": 3},  # the first third
        {"epoch": 10},  # nothing left to save
        {"epoch": 1, "epochs": 1},
        {"leader": ("moco", 48.5)},
    ],
    ids=str,
)
def test_what_may_still_win_or_is_too_young_goes_on(more):
    assert stop(**more) is None


def test_just_below_the_best_is_stopped():
    assert stop(value=44.7) is not None


def test_few_degrees_of_freedom_widen_the_noise_as_students_t():
    for degrees, deviations in ((2, 3.0), (6, 3.0), (2, 0.5)):
        tail = norm.sf(deviations)
        expected = 1.5 * t(degrees).isf(tail)
        assert Noise(1.5, degrees).corrected(deviations) * deviations == pytest.approx(expected)
    assert Noise(1.5, 2).corrected(100.0) == inf  # never stops


def test_noise_is_what_seeds_leave_of_a_model_of_chain_and_seed():
    """Two starts, three seeds: the second less the first differs by 1, 2 and 3."""
    found = training_noise(
        {"scratch": {0: 40.0, 1: 47.0, 2: 31.0}, "imagenet": {0: 41.0, 1: 49.0, 2: 34.0}}
    )
    assert found == Noise(pytest.approx(sqrt(0.5)), 2)  # sd of the differences 1, over sqrt(2)


def test_the_seeds_of_one_start_count_as_noise():
    scores = {"scratch": {0: 40.0, 1: 42.0, 2: 44.0}, "moco": {0: 60.0}}
    assert training_noise(scores) == Noise(2.0, 2)


@pytest.mark.parametrize(
    "scores", [{}, {"a": {0: 1.0}, "b": {0: 2.0}}, {"a": {0: 12.5, 1: 12.5, 2: 12.5}}], ids=str
)
def test_without_a_second_seed_or_any_spread_there_is_no_estimate(scores):
    assert training_noise(scores) is None


def test_a_hopeless_probe_is_stopped_before_fine_tuning():
    noise = Noise(3.0, SURE)
    found = screen((40.0, 4.0), 10, ("moco", 55.1), noise, 3.0, BALANCED)
    assert (found.epoch, found.epochs, found.best, found.ceiling) == (
        0, 10, 40.0, pytest.approx(55.0, abs=1e-3),
    )  # fmt: skip
    assert found.reason == (
        "before fine-tuning: its probe predicts 40.00 (sd 4.00), at best 55.00 with training noise "
        "(sd 3.00, degrees of freedom 1000000; early_stop=3), moco has 55.10"
    )
    assert screen((40.0, 4.0), 10, ("moco", 54.9), noise, 3.0, BALANCED) is None
    assert screen((40.0, 4.5), 10, ("moco", 55.1), noise, 3.0, BALANCED) is None


def test_the_leaders_noise_is_at_most_the_predictions():
    vague = Noise(3.0, 1)
    assert screen((40.0, 4.0), 10, ("moco", 57.1), vague, 3.0, BALANCED) is not None
    assert screen((40.0, 4.0), 10, ("moco", 56.9), vague, 3.0, BALANCED) is None


def test_a_lower_objective_is_screened_by_its_merit():
    found = screen((-40.0, 2.0), 5, ("moco", -20.0), Noise(2.0, 1), 3.0, MEASURES["ece"])
    assert (found.best, round(found.ceiling, 2)) == (40.0, 31.51)


@pytest.mark.parametrize("starts", [1, 2, 4])
def test_a_truly_equal_chain_is_stopped_in_at_most_two_percent(starts):
    found = simulate(1.5, starts=starts, searches=150)
    assert found.stopped + found.screened <= 0.02


def test_what_is_hopeless_is_stopped():
    found = simulate(0.5, spread=8.0, correlation=0.9, starts=4, searches=150)
    assert found.stopped > 0.3
    assert found.screened > 0.05
    assert found.lost < 0.02
