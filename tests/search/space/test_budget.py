"""Budgets as users write them, and the meter of those that are of time."""

import pytest

from search.space import load
from search.space.budget import Budget, Meter
from trainables.errors import UserError


@pytest.mark.parametrize(
    ("given", "stages", "seconds", "gpu_hours", "text"),
    [
        (None, None, None, None, ""),
        (20, 20, None, None, "20 stages"),
        ("20", 20, None, None, "20 stages"),
        ("90s", None, 90, None, "90 s"),
        ("90m", None, 5400, None, "90 m"),
        (" 1.5 h", None, 5400, None, "1.5 h"),
        ("8H", None, 28800, None, "8 h"),
        ("2d", None, 172800, None, "2 d"),
        ("12gpuh", None, None, 12, "12 GPU-hours"),
    ],
)
def test_a_budget_is_read(given, stages, seconds, gpu_hours, text):
    budget = Budget.parse(given)
    assert (budget.stages, budget.seconds, budget.gpu_hours) == (stages, seconds, gpu_hours)
    assert str(budget) == text


@pytest.mark.parametrize("given", ["0", 0, -3, "0h", "8x", "h", "8 h 30", "1e3", True, "", "nan"])
def test_nonsense_is_refused_with_what_is_wanted(given):
    with pytest.raises(UserError, match=r"^budget=.*: must be whole stages \(20\), wall time"):
        Budget.parse(given)


def test_stages_are_whole():
    with pytest.raises(UserError, match=r"budget=2\.5: must be whole stages"):
        Budget.parse(2.5)


@pytest.mark.parametrize(("override", "text"), [("null", ""), ("7", "7 stages"), ("8h", "8 h")])
def test_a_space_takes_the_same_texts(override, text):
    assert str(load("isic3", [f"budget={override}"]).budget) == text
    with pytest.raises(UserError, match="budget=8x: must"):
        load("isic3", ["budget=8x"])


def meter(text, now):
    return Meter(Budget.parse(text), 100.0, lambda: 100.0 + now)


def test_wall_time_is_counted_from_the_start_of_the_command():
    assert meter("1m", 59).spent() == ""
    assert meter("1m", 60).spent() == "the budget of 1 m is spent"
    assert meter("1m", 45).left() == 15


def test_gpu_hours_are_leases_times_the_gpus_of_a_group():
    found = meter("2gpuh", 1000)
    assert found.spent() == ""
    assert found.left() is None  # nothing was leased yet
    found.gpus, found.leased = 4, lambda: 450.0
    assert found.fraction() == 0.25
    assert found.left() == 3000
    found.leased = lambda: 1800.0
    assert found.spent() == "the budget of 2 GPU-hours is spent"


@pytest.mark.parametrize("text", [None, "20"])
def test_stages_are_not_metered(text):
    assert meter(text, 10**9).spent() == ""
    assert meter(text, 10**9).left() is None
