"""Lengths of stages: interpolated by hand, and as the plan asks for them."""

import pytest

from search.chains.lengths import steps_of, trial_of, words
from search.chains.node import Node
from search.chains.plan import Plan
from search.space import load
from trainables.errors import UserError

TABLE = {1000: 3000, 10_000: 30_000, 40_000: 60_000}


@pytest.mark.parametrize(
    ("images", "steps"),
    [
        (0, 3000), (999, 3000), (1000, 3000), (2000, 6000), (5000, 15_000), (10_000, 30_000),
        (20_000, 42_426),  # 30,000 times the square root of 2
        (40_000, 60_000), (10**9, 60_000),
    ],
)  # fmt: skip
def test_a_table_is_interpolated_on_logarithmic_axes_and_flat_beyond(images, steps):
    assert steps_of(TABLE, None, images) == steps
    assert steps_of("published", TABLE, images) == steps
    assert steps_of(7, TABLE, images) == 7


@pytest.mark.parametrize(
    ("given", "steps", "trial"), [(None, 300, 300), (None, 3000, 500), (None, 9000, 900), (8, 5, 5)]
)
def test_a_trial_is_a_tenth_of_the_stage_and_at_least_500_steps(given, steps, trial):
    assert trial_of(given, steps) == trial


def test_a_length_in_words():
    assert words(12_000) == "12,000"
    assert words({1000: 3000, 5000: 10_000}) == "3,000 at 1,000 images, 10,000 at 5,000 images"


def planned(pool=None):
    space = load("isic3", ["profile=gpu"])
    return Plan(space, "d", {"imagenet": "w"}, pool=pool, count=1000, pool_count=5000)


def steps(node, pool=None):
    return [spec.trained.steps for spec in planned(pool).graph(Node.parse(node)) if spec.training]


def test_published_lengths_are_four_times_as_long_from_scratch_and_by_the_images_seen():
    assert steps("moco>relative_location") == [12_000, 2000, 2500]
    assert steps("imagenet:moco>relative_location") == [3000, 2000, 2500]
    assert steps("moco>relative_location", pool="p") == [40_000, 5000, 2500]
    assert steps("moco>relative_location!pool", pool="p") == [12_000, 2000, 2500]
    assert planned().lengths["moco"] == (12_000, 3000)


def test_what_is_too_short_is_named_by_its_shortest_stage():
    """A stage after another one, or from weights, is a quarter of one from scratch."""
    assert planned().short == ()
    assert Plan(load("isic3", ["profile=cpu"]), "d").short == ()
    given = ["profile=gpu", "tasks.moco.steps={1000:600}", "profile.downstream_steps=1999"]
    assert Plan(load("isic3", given), "d", count=1000).short == (
        "too short to matter (under 2,000 steps): moco 600; raise profile.steps",
        "too short to matter (under 2,000 steps): classify 1,999; raise profile.downstream_steps",
    )
    alone = Plan(load("isic3", [*given, "max_length=1"]), "d", count=1000)
    assert "moco" not in " ".join(alone.short), "2,400 from scratch; no stage comes later"


@pytest.mark.parametrize(
    "bad", ["0", "2.5", "true", "{}", "{1000:0}", "{0:100}", "{many:100}", "few", "null"]
)
def test_a_bad_length_is_one_line(bad):
    with pytest.raises(UserError, match=r"^profile\.steps=.*: must be a whole .*; try 2000$"):
        load("isic3", [f"profile.steps={bad}"])


def test_published_needs_a_table_of_the_task():
    given = ["profile=gpu", "tasks.moco.steps=null"]
    with pytest.raises(UserError, match=r"^tasks\.moco\.steps: must be given with profile\.steps="):
        load("isic3", given)
    load("isic3", [*given, "profile.steps=3000"])
