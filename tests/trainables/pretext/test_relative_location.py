"""Relative Location: the centre's features are reused, patches lie where their label says."""

import pytest
import torch
from pretext_harness import batch_at, build, optimiser, started
from torch.nn.functional import cross_entropy

from trainables.pretext.relative_location import CENTRE, PLACES, pair, patch_grid
from trainables.task import Batch, Draw

WIDE = {"border": 0.0, "crop": 1.0}
LABELS = torch.arange(8).repeat(2)


@pytest.mark.parametrize(("training", "copies"), [(False, 1), (True, 8)])
def test_centre_reuse_equals_encoding_it_for_every_pair(training, copies):
    """Values and gradients, in float64.

    Reference: both patches of every pair are encoded for it alone. In training mode all 9 patches
    are encoded again for each pair, which leaves BatchNorm's statistics as they are.
    """
    task = build("relative_location").double().train(training)
    patches = torch.rand(2, 9, 3, 32, 32, dtype=torch.float64)
    features = task.backbone(patches.flatten(0, 1)).unflatten(0, (2, 9))
    loss = cross_entropy(task.head(task.neck(pair(features).flatten(0, 1))), LABELS)
    grads = torch.autograd.grad(loss, list(task.parameters()))
    again = sixteen_forwards(task, patches) if copies == 1 else encoded_for_each(task, patches)
    expected = cross_entropy(task.head(task.neck(again.flatten(0, 1))), LABELS)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(
        grads, torch.autograd.grad(expected, list(task.parameters())), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def sixteen_forwards(task, patches):
    neighbours = patches[:, [k for k in range(9) if k != CENTRE]]
    centres = patches[:, CENTRE:][:, :1].expand_as(neighbours)
    return torch.cat(
        [task.backbone(p.flatten(0, 1)).view(2, 8, -1) for p in (neighbours, centres)], 2
    )


def encoded_for_each(task, patches):
    features = task.backbone(patches.repeat(8, 1, 1, 1, 1).flatten(0, 1)).view(8, 2, 9, -1)
    cells = [k for k in range(9) if k != CENTRE]
    pairs = [torch.cat([f[:, k], f[:, CENTRE]], 1) for f, k in zip(features, cells, strict=True)]
    return torch.stack(pairs, 1)


def test_patches_lie_in_their_cells_inside_the_border():
    border, crop, share, px = 0.1, 0.6, 0.75, 32
    numbers = Draw(0, 0, 50, "cpu").uniform(PLACES)
    grid = (patch_grid(numbers, border, crop, share, px) + 1) / 2
    assert grid.min() > border
    assert grid.max() < 1 - border
    low, high = grid.amin((2, 3)), grid.amax((2, 3))  # [b, 9, (x, y)]
    torch.testing.assert_close(high - low, torch.full_like(low, crop / 3 * share * (1 - 1 / px)))
    by_row = low.view(50, 3, 3, 2), high.view(50, 3, 3, 2)
    assert (by_row[0][:, :, 1:, 0] > by_row[1][:, :, :-1, 0]).all()  # columns don't touch
    assert (by_row[0][:, 1:, :, 1] > by_row[1][:, :-1, :, 1]).all()  # rows don't touch
    assert low.std(0).min() > 0.01  # and jitter


def test_the_label_says_where_the_patch_was():
    task = started("relative_location", {"grayscale": 0.0, "crop": 0.7})
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    images = torch.stack([x, y, x * 0]).byte()[None].expand(8, -1, -1, -1)
    places = task.patches(images, Draw(0, 0, 8, "cpu")).mean((3, 4))
    neighbours, centre = pair(places).chunk(2, 2)
    offset = (neighbours - centre)[..., :2]
    for label, (right, down) in enumerate(
        [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)]
    ):
        for axis, expected in enumerate((right, down)):
            step = offset[:, label, axis].mean() / offset[:, :, axis].abs().max()
            assert abs(step - expected * 0.8) < 0.3, (label, axis)


def test_the_grid_lies_anywhere_inside_the_border():
    """So that a patch's place in the image says little of its place in the grid."""
    numbers = Draw(0, 0, 400, "cpu").uniform(PLACES)
    corner = (patch_grid(numbers, 0.1, 0.45, 1.0, 8)[:, 0, 0, 0] + 1) / 2
    assert corner.amin(0).max() < 0.13
    assert corner.amax(0).min() > 1 - 0.1 - 0.45 - 0.01


def test_the_control_sees_the_centre_of_another_image():
    """Both accuracies against each pair judged by itself; without the centre, nothing is known."""
    task = started("relative_location").eval()
    seen, blind = task.shortcut(batch_at(0, task.context)).tolist()
    logits, labels = task.predict(batch_at(0, task.context))
    assert seen == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    features = task.encode(batch_at(0, task.context))
    b, right = len(features), 0
    for image in range(b):
        for label, cell in enumerate(k for k in range(9) if k != CENTRE):
            both = torch.cat([features[image, cell], features[(image - 1) % b, CENTRE]])
            right += int(task.head(task.neck(both[None])).argmax()) == label
    assert blind == pytest.approx(right / (8 * b))


@pytest.mark.slow
@pytest.mark.parametrize(("params", "given_away"), [({}, False), (WIDE, True)])
def test_a_vignette_and_a_corner_marker_give_nothing_away(params, given_away):
    """Noise in a round picture with a bright marker: what is learnt is the picture's border."""
    task = started("relative_location", {"dropout": 0.0, **params})
    line = torch.linspace(-1, 1, 48)
    outside = (line[:, None].square() + line.square()).sqrt() > 1
    optimizer = optimiser("relative_location", task, lr=0.02)
    accuracies, corners = [], []
    for step in range(30):  # one that is given away is learnt in ten
        noise = torch.randint(60, 200, (16, 3, 48, 48), generator=torch.manual_seed(step))
        noise[:, :, outside] = 0
        noise[:, :, 1:6, 1:6] = 255
        batch = Batch(noise.byte(), torch.arange(16), Draw(0, step, 16, "cpu"), step)
        loss, metrics = task(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        accuracies.append(float(metrics["accuracy"]))
        corners.append(float(metrics["corner_accuracy"]))
    late, late_corner = sum(accuracies[-20:]) / 20, sum(corners[-20:]) / 20
    if given_away:
        assert late > 2 / 8
        assert late_corner > 3 / 8
    else:
        assert late < 1.25 / 8
        assert late_corner < 1.4 / 8
