"""Early stopping of a hopeless fine-tuning: known answers on curves of ten epochs."""

import pytest

from search.scheduling.early_stopping import ceiling, judge
from tests.measures import BALANCED
from trainables.downstream.measures import MEASURES

CURVES = [
    (20.0, 30.0, 40.0, 45.0, 44.0, 46.0, 47.0, 50.5, 50.0, 49.0),  # gains 5.5 after the fourth
    (30.0, 35.0, 40.0, 50.0, 49.0, 48.0, 47.0, 46.0, 45.0, 44.0),  # gains nothing after it
    (10.0, 20.0, 30.0, 35.0, 36.0, 37.0, 38.0, 39.0, 40.0, 40.2),
]
BEST = ("moco", 52.3)


def stop(
    best=41.0, epoch=4, epochs=10, curves=CURVES, incumbent=BEST, margin=2.0, objective=BALANCED
):
    return judge(best, epoch, epochs, curves, incumbent, margin, objective)


def test_the_ceiling_is_the_best_so_far_and_the_largest_gain_of_any_curve():
    assert ceiling(41.0, 4, CURVES) == 46.5
    assert ceiling(41.0, 8, CURVES) == pytest.approx(42.2)


def test_what_cannot_reach_the_best_is_stopped_and_says_why():
    found = stop()
    assert (found.epoch, found.epochs, found.best, found.ceiling) == (4, 10, 41.0, 46.5)
    assert found.reason == (
        "after epoch 4 of 10 at 41.00: at best 46.50 by the gains of the other curves, "
        "moco has 52.30 (margin 2)"
    )


def test_a_stopped_score_lies_between_what_was_seen_and_the_ceiling():
    score = stop().score(BALANCED)
    assert (score.value, score.low, score.high) == (41.0, 41.0, 46.5)


def test_a_lower_objective_is_judged_by_its_merit_and_told_as_it_is():
    curves = [tuple(-value for value in (60, 50, 40, 35, 30, 29, 28, 27, 26, 25))] * 3
    found = stop(best=-45.0, curves=curves, incumbent=("moco", -20.0), objective=MEASURES["ece"])
    assert (found.best, found.ceiling) == (45.0, 35.0)
    assert "at 45.00: at best 35.00 by the gains" in found.reason
    assert "moco has 20.00 (margin 2)" in found.reason
    score = found.score(MEASURES["ece"])
    assert (score.value, score.merit, score.low, score.high) == (45.0, -45.0, 35.0, 45.0)


@pytest.mark.parametrize(
    "more",
    [
        {"best": 44.8},  # 44.8 + 5.5 + 2.0 is 52.3, which is level with the best
        {"margin": 6.0},
        {"curves": CURVES[:2]},
        {"epoch": 3},  # the first third
        {"epoch": 10},  # nothing left to save
        {"epoch": 1, "epochs": 1},
        {"incumbent": ("moco", 48.5)},
    ],
    ids=str,
)
def test_what_may_still_win_or_is_too_young_goes_on(more):
    assert stop(**more) is None


def test_just_below_the_best_is_stopped():
    assert stop(best=44.7) is not None


def test_a_negative_margin_stops_even_a_leader():
    """The lever of the tests on real Ray."""
    assert stop(best=60.0, margin=-100.0) is not None
