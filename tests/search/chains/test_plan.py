"""Plans: what enters the key of a stage and of a score, and what does not."""

from dataclasses import replace

import pytest

from search.chains.node import Node
from search.chains.plan import Plan, estimate
from search.space import load


def plan(*overrides, digest="d"):
    return Plan(load("isic3", ["profile=smoke", *overrides]), digest)


def keys(*overrides, digest="d"):
    made = plan(*overrides, digest=digest)
    return [spec.key() for spec in made.stages(Node.parse("odc>moco"))]


@pytest.mark.parametrize(
    "override",
    ["seed=1", "profile.epochs=0.2", "profile.batch=64", "tasks.odc.lr_range=[0.01]",
     "tasks.odc.weight_decay=0.5", "tasks.odc.version='9'", "data.augment.blur=0.1",
     "modality=xray", "data.merge_duplicates=true",
     "profile.bn_groups=4", "profile.lr_epochs=0.1", "profile.image_size=48"],
)  # fmt: skip
def test_what_decides_a_result_changes_the_key_and_every_key_below(override):
    assert not set(keys()) & set(keys(override))


@pytest.mark.parametrize(
    "override",
    ["runtime.workers=2", "runtime.log_every=1", "store=/elsewhere", "policy=exhaustive",
     "data.root=/elsewhere", "max_length=2", "tasks.relative_location.lr_range=[0.5]",
     "profile.downstream_epochs=3"],
)  # fmt: skip
def test_what_does_not_decide_it_leaves_the_keys(override):
    assert keys() == keys(override)


def test_other_images_are_other_stages():
    assert not set(keys()) & set(keys(digest="e"))


def test_a_child_changes_with_its_parent_only_from_there_on():
    changed = keys("tasks.moco.weight_decay=0.5")
    assert changed[0] == keys()[0]
    assert changed[1] != keys()[1]


def test_baselines_start_from_no_stage_and_imagenet_needs_weights():
    without = plan()
    assert [str(p) for p in without.baselines()] == ["scratch"]
    made = replace(without, imagenet_digest="w")
    assert [str(p) for p in made.baselines()] == ["scratch", "imagenet"]
    scratch, imagenet = (made.downstream(p) for p in made.baselines())
    assert (scratch.parent, scratch.weights) == (None, None)
    assert (imagenet.parent, imagenet.weights) == (None, "w")


def test_a_window_narrows_the_rates_of_its_task():
    made = plan("tasks.odc.lr_range=[0.1,0.2,0.3]")
    odc, moco = made.stages(Node.parse("odc[low]>moco"))
    assert odc.training.lr.range == (0.1, 0.2)
    assert moco.training.lr.range == made.space.tasks["moco"].lr_range


def test_a_repeat_has_its_own_seed_on_the_same_split_with_the_rates_of_the_first():
    made = replace(plan(), chosen=lambda key: 0.01)
    first, again = (
        made.stages(Node.parse("odc>moco")),
        made.stages(Node.parse("odc>moco#2")),
    )
    assert [spec.seed for spec in (*first, *again)] == [0, 0, 2, 2]
    assert [spec.data for spec in first] == [spec.data for spec in again]
    assert first[1].training == again[1].training
    assert again[1].parent == again[0].key() != first[0].key()
    score = made.downstream(Node.parse("odc>moco#2"))
    assert (score.seed, score.data.seed, score.parent) == (2, 0, again[1].key())
    assert made.singles(Node.parse("odc>moco#2")) == made.singles(Node.parse("odc>moco"))
    assert made.stages(Node.parse("odc#2")) == again[:1]


def test_the_number_of_repeats_leaves_the_search_the_same():
    assert plan("repeats=3").identity() == plan().identity()


def test_the_estimate_is_images_over_rate():
    lengths = {"epochs": 2, "lr_epochs": 1, "downstream_epochs": 4, "downstream_lr_epochs": 1}
    rates = {"images_per_second": 100, "label_fraction": 0.5}
    overrides = [f"profile.{key}={value}" for key, value in (lengths | rates).items()]
    overrides += ["lr_policy=full_range", "downstream.lr_range=[0.01,0.02]"]
    cost = estimate(load("isic3", ["profile=smoke", *overrides]), 1000)
    assert cost.stage == pytest.approx(1000 * (2 + 4) * 2 / 100)
    assert cost.score == pytest.approx(500 * (4 + 2) / 100)
