"""What every pretext task must do, whoever wrote it: a new file in the folder is tested too."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from pretext_harness import ROOT, batch_at, build, optimiser, recipe, started, train

from search.chains.lengths import SHORT
from trainables.plugins import available

FIELDS = ("name", "params", "lr_range", "lr_range_later", "optimizer", "weight_decay", "steps")
TASKS = available("trainables.pretext")
each_task = pytest.mark.parametrize("name", TASKS)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@each_task
def test_recipe_is_complete(name):
    given = recipe(name)
    assert set(given) == {*FIELDS}
    assert given["name"] == name
    for rates in (given["lr_range"], given["lr_range_later"]):
        assert len(rates) >= 3
        factors = [high / low for low, high in pairwise(rates)]
        assert all(2 < factor < 5 for factor in factors)
        assert max(factors) < 1.25 * min(factors)
    assert given["lr_range_later"][-1] < given["lr_range"][-1]
    lengths = [*given["steps"].values()]
    assert lengths == sorted(lengths)
    assert [*given["steps"]] == sorted(given["steps"])
    assert lengths[0] >= SHORT


def test_every_recipe_has_a_task():
    assert tuple(sorted(p.stem for p in (ROOT / "spaces" / "task").glob("*.yaml"))) == TASKS


@each_task
def test_same_seed_same_losses_and_they_are_finite(name):
    first, second = ([*_losses(name)] for _ in range(2))
    assert first == second
    assert all(math.isfinite(value) for row in first for value in row.values())


def _losses(name):
    task = started(name)
    return train(task, optimiser(name, task), range(2))


FAMILIES = [
    ("resnet10", 1), ("convnext_atto", 0), ("vit_tiny_patch16_224", 1), ("tf_efficientnet_lite0", 1)
]  # fmt: skip


@each_task
@pytest.mark.parametrize(("network", "last_blocks"), FAMILIES)
def test_every_family_of_backbones_can_be_trained(name, network, last_blocks):
    task = started(name, network=network, last_blocks=last_blocks)
    before = {k: v.clone() for k, v in task.backbone.named_parameters()}
    row = train(task, optimiser(name, task, lr=1e-3), range(1))[0]
    assert all(math.isfinite(value) for value in row.values())
    moved = {k for k, v in task.backbone.named_parameters() if not torch.equal(v, before[k])}
    assert moved
    if last_blocks:
        assert moved <= {k for k, v in task.backbone.named_parameters() if v.requires_grad}


@each_task
def test_resumed_in_the_middle_the_losses_are_bit_equal(name):
    task = started(name)
    optimizer = optimiser(name, task)
    train(task, optimizer, range(3))
    state = {key: value.clone() for key, value in task.state_dict().items()}
    slots = {k: {n: v.clone() for n, v in s.items() if v is not None}
             for k, s in optimizer.state_dict()["state"].items()}  # fmt: skip
    expected = train(task, optimizer, range(3, 6))
    again = build(name)
    again.load_state_dict(state)
    resumed = optimiser(name, again)
    groups = resumed.state_dict()["param_groups"]
    resumed.load_state_dict({"state": slots, "param_groups": groups})
    assert train(again, resumed, range(3, 6)) == expected


@each_task
def test_global_generators_are_left_alone(name):
    task = build(name)
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    images = batch_at(0, task.context).images
    task.start(lambda index: images[index % len(images)])
    train(task, optimiser(name, task), range(1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


@each_task
def test_a_guess_is_right_by_chance_and_the_confusion_agrees(name):
    task = started(name)
    batch = batch_at(0, task.context)
    row = train(task, optimiser(name, task), range(1))[0]
    assert 0 < task.chance_level() < 1
    assert 0 <= row["accuracy"] <= 1
    if (confusion := task.confusion(batch)) is not None:
        answers = len(confusion)
        assert confusion.shape == (answers, answers)
        assert task.chance_level() == 1 / answers
        assert confusion.sum(1).tolist() == [len(batch.index)] * answers


@each_task
def test_runs_under_bfloat16_autocast(name):
    task = started(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = task(batch_at(0, task.context))
    assert loss.dtype == torch.float32
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(p.grad is not None for p in task.parameters() if p.requires_grad)


@each_task
def test_single_channel_images(name):
    task = started(name, channels=1, mean=(0.5,), std=(0.2,))
    assert math.isfinite(train(task, optimiser(name, task), range(1))[0]["loss"])


@each_task
def test_all_that_is_trained_is_in_one_parameter_group(name):
    task = build(name)
    grouped = [id(p) for group in task.parameter_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in task.parameters() if p.requires_grad)


@each_task
def test_score_prefers_the_run_that_learnt_and_refuses_the_one_that_broke(name):
    task = started(name)
    row = train(task, optimiser(name, task), range(1))[0]
    losses = [k for k in row if k.endswith("loss")]
    worse, better, broken = (
        [{**row, **{k: row[k] * factor for k in losses}}] * 4 for factor in (1, 0.5, math.nan)
    )
    assert task.score(better) > task.score(worse) > task.score(broken) == -math.inf
