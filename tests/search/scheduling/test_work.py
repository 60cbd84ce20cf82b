"""The work of a stage, counted by hand."""

import pytest

from search.chains.node import Node
from search.chains.plan import Plan
from search.scheduling.work import Rate, Work, work
from search.space import load

LENGTHS = {
    "steps": 200, "lr_steps": 100, "downstream_steps": 140, "downstream_lr_steps": 35, "batch": 10,
    "downstream_batch": 10, "bn_groups": 1, "label_fraction": 0.5,
}  # fmt: skip
PRECISION = "profile.precision=float32"


def specs(*overrides):
    given = [f"profile.{key}={value}" for key, value in LENGTHS.items()]
    ranges = ["tasks.odc.lr_range=[0.01,0.02,0.03,0.1]", "downstream.lr_range=[0.01,0.02]"]
    ranges.append("downstream.lr_range_later=null")
    space = load("isic3", ["profile=smoke", PRECISION, *given, *ranges, *overrides])
    stage, probe, score = Plan(space, "").graph(Node.parse("odc"))
    return stage, probe, score


def test_a_stage_trains_its_steps_and_its_range():
    """Halving: four rates for 25 steps, three for 38, two for 37."""
    stage, _, _ = specs()
    trials = 4 * 25 + 3 * 37 + 2 * 38
    assert work(stage, 1000) == Work(200 + trials, 0, 1000)
    assert work(specs("lr_policy=full_range")[0], 1000) == Work(200 + 400, 0, 1000)


def test_a_range_that_grows_has_two_trials_more():
    """They are judged once each; a range of one rate can't grow."""
    given = ["profile.lr_steps=500", "profile.downstream_lr_steps=500"]
    stage, _, score = specs(*given, "profile.steps=2000", "profile.downstream_steps=2000")
    plain, grown = work(stage, 700), work(stage, 700, grown=True)
    assert (grown.steps - plain.steps, grown.evaluated) == (2 * 500, plain.evaluated)
    plain, grown = work(score, 700), work(score, 700, grown=True)
    assert grown.steps - plain.steps == 2 * 500
    assert grown.evaluated - plain.evaluated == 2 * (150 + 350)
    assert work(specs()[0], 700, grown=True) == work(specs()[0], 700), "trials are too short"


def test_a_score_is_evaluated_on_the_way_after_every_trial_and_at_the_end():
    """700 of 1000 images train, 150 validate and 150 test; an epoch of half of them is 35 steps."""
    score = specs("lr_policy=full_range")[2]
    found = work(score, 700)
    assert (found.steps, found.images) == (35 * 4 + 2 * 35, 350)
    attention = 150 * 4 + 512  # each image four times; the random network is fitted once
    assert found.evaluated == 150 * (4 + 2 + 1) + 150 + 350 * (4 + 2) + attention
    halving = work(specs()[2], 700)  # two rates up to the only rung
    assert halving.evaluated == found.evaluated


def test_a_probe_sees_the_labelled_images_once():
    assert work(specs()[1], 700) == Work(0, 0, 350)


def test_seconds_are_rates_times_work():
    assert Rate(0.5, 0.01, 0.1).seconds(Work(10, 200, 30)) == pytest.approx(5 + 2 + 3)


def test_the_probes_of_a_stage_see_their_images_twice():
    """The start, two of the curve, four, three and two rates at rungs; at most 1,000 and 512."""
    given = ["profile.curve=2", "lr_judge=probe"]
    stage, _, _ = specs(*given)
    assert work(stage, 700).evaluated == 2 * (1 + 2 + 4 + 3 + 2) * 350
    assert work(stage, 5000).evaluated == (1 + 2 + 4 + 3 + 2) * (1000 + 512)
    assert work(stage, 700).images == 700
