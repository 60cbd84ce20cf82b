"""Masked image modelling: what is hidden, what is told of it, and MAE's sparse encoder."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from pretext_harness import batch_at, build, context, optimiser, params, pictures, recipe, train

from trainables.backbone import Backbone, load_backbone, save_backbone
from trainables.errors import UserError
from trainables.pretext import mim
from trainables.pretext._mae import MAE, encode, normal
from trainables.pretext.mim import Plugin, SimMIM, answered, patches, take, unit_of
from trainables.task import Draw

VIT = "vit_tiny_patch16_224"


@cache
def made(name, **changes):
    torch.manual_seed(0)
    return Plugin(Backbone(name), recipe("mim")["params"], context(image_size=64, **changes))


@pytest.fixture(scope="module")
def vit():
    return made(VIT).backbone.net.eval()


def view(count=3, size=64):
    return (pictures(count, side=size).float() - 100) / 50


def test_squares_are_a_seventh_of_the_view_and_divide_it():
    assert {size: unit_of(size) for size in (32, 48, 64, 96, 128, 160, 192, 224, 384)} == {
        32: 4, 48: 6, 64: 8, 96: 12, 128: 16, 160: 20, 192: 24, 224: 32, 384: 48,
    }  # fmt: skip
    with pytest.raises(UserError, match=r"mim\.params\.unit=12: must divide .*=32.*; try 4 or nul"):
        params("mim", unit=12).check(context())
    with pytest.raises(UserError, match=r"image_size=67: must be no prime number .*; try 68"):
        params("mim").check(context(image_size=67))


@pytest.mark.parametrize(("name", "of", "hidden"), [("resnet10", 64, 38), (VIT, 16, 12)])
def test_exactly_so_many_patches_are_hidden_and_which_is_drawn(name, of, hidden):
    method = made(name).method
    assert (method.patches, method.hidden) == (of, hidden)
    assert made(name).chance_level() == 1 / hidden
    there, rest = method.order(Draw(0, 0, 400, "cpu"))
    assert (there.shape[1], rest.shape[1]) == (hidden, of - hidden)
    assert torch.equal(torch.cat([there, rest], 1).sort(1)[0], torch.arange(of).expand(400, -1))
    often = torch.bincount(there.flatten(), minlength=of) / 400
    assert (often - hidden / of).abs().max() < 0.15
    assert not torch.equal(there, method.order(Draw(0, 1, 400, "cpu"))[0])


def test_patches_are_cut_row_by_row_and_taken_image_by_image():
    x = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    cut = patches(x, 2)
    assert cut.shape == (2, 6, 12)
    assert torch.equal(cut[1, 4].view(3, 2, 2), x[1, :, 2:4, 2:4])
    some = take(cut, torch.tensor([[5, 0], [1, 1]]))
    assert torch.equal(some[0, 0], cut[0, 5])
    assert torch.equal(some[1], cut[1, [1, 1]])


def test_hidden_pixels_are_the_learned_square_and_no_other_is_changed():
    method, x = made("resnet10").method, view()
    hidden, _ = method.order(Draw(0, 0, 3, "cpu"))
    with torch.no_grad():
        seen = method.masked(x, hidden)
    square = method.square.detach().flatten()
    for image in range(3):
        cut = patches(seen[image : image + 1], 8)[0]
        for at, patch in enumerate(cut):
            same = square if at in hidden[image] else patches(x, 8)[image, at]
            assert torch.equal(patch, same)


@pytest.mark.parametrize("name", ["resnet10", VIT])
def test_what_is_hidden_cannot_be_seen(name):
    """Other pixels there change no prediction, and other pixels elsewhere change no target."""
    task = made(name).eval()
    method, x = task.method, view()
    hidden, visible = method.order(Draw(0, 0, 3, "cpu"))

    def changed(where):
        noise = torch.zeros_like(patches(x, method.unit))
        noise.scatter_(
            1, where[:, :, None].expand(-1, -1, noise.shape[2]), torch.randn(noise.shape)
        )
        return x + F.fold(noise.transpose(1, 2), 64, method.unit, stride=method.unit)

    with torch.no_grad():
        told, true = method(task.backbone, x, Draw(0, 0, 3, "cpu"))
        same, other = method(task.backbone, changed(hidden), Draw(0, 0, 3, "cpu"))
        moved, still = method(task.backbone, changed(visible), Draw(0, 0, 3, "cpu"))
    assert torch.equal(told, same)
    assert not torch.equal(true, other)
    assert torch.equal(true, still)
    assert not torch.equal(told, moved)


def test_the_loss_of_simmim_is_that_of_a_slow_oracle():
    """Pixel by pixel: the mean distance where the mask is."""
    task = made("resnet10").eval()
    method, x = task.method, view()
    hidden, _ = method.order(Draw(0, 0, 3, "cpu"))
    with torch.no_grad():
        loss = method.error(*method(task.backbone, x, Draw(0, 0, 3, "cpu")))
        cells = task.backbone.maps(method.masked(x, hidden))
        weight, bias = method.decode.weight[:, :, 0, 0], method.decode.bias
        total, count = 0.0, 0
        for image in range(3):
            for at in hidden[image].tolist():
                for y in range(at // 8 * 8, at // 8 * 8 + 8):
                    for right in range(at % 8 * 8, at % 8 * 8 + 8):
                        cell = cells[image, :, y // 32, right // 32]
                        for c in range(3):
                            row = c * 32 * 32 + y % 32 * 32 + right % 32
                            told = weight[row] @ cell + bias[row]
                            total, count = total + abs(told - x[image, c, y, right]), count + 1
    assert count == 3 * 38 * 8 * 8 * 3
    assert loss.item() == pytest.approx(float(total / count), rel=1e-4)


def test_the_targets_of_mae_are_normalised_patch_by_patch():
    method, x = made(VIT).eval().method, view()
    hidden, _ = method.order(Draw(0, 0, 3, "cpu"))
    with torch.no_grad():
        told, true = method(made(VIT).backbone, x, Draw(0, 0, 3, "cpu"))
    at = int(hidden[1, 2])
    down, right = at // 4 * 16, at % 4 * 16
    pixels = x[1, :, down : down + 16, right : right + 16].flatten().double()
    expected = (pixels - pixels.mean()) / (pixels.var() + 1e-6).sqrt()
    assert true[1, 2].double() == pytest.approx(expected, abs=1e-4)
    assert method.error(told, true).item() == pytest.approx(float((told - true).square().mean()))
    assert method.error(true, true) == 0
    assert normal(torch.ones(1, 1, 5)).abs().max() == 0


def test_the_nearest_prediction_is_the_own_one():
    true = torch.randn(4, 10, 6)
    assert answered(true, true) == 1
    assert answered(true.roll(1, 1), true) == 0
    assert answered(torch.zeros_like(true), true) == pytest.approx(0.1)
    told = torch.randn(4, 10, 6)
    right = 0
    for image in range(4):
        for at in range(10):
            distances = [(told[image, other] - true[image, at]).norm() for other in range(10)]
            right += min(range(10), key=distances.__getitem__) == at
    assert answered(told, true) == pytest.approx(right / 40)


def test_all_patches_give_the_tokens_of_the_whole_transformer(vit):
    x = view()
    with torch.no_grad():
        found = encode(vit, x, torch.arange(16).expand(3, -1))
        assert found == pytest.approx(vit.forward_features(x), abs=1e-5)


def test_the_sparse_encoder_is_the_whole_one_with_a_mask_over_the_hidden_tokens(vit):
    x, visible = view(), torch.tensor([[3, 9, 12], [0, 1, 15], [7, 2, 11]])
    with torch.no_grad():
        found = encode(vit, x, visible)
        for image in range(3):
            seen = torch.zeros(17, dtype=torch.bool)
            seen[[0, *(1 + visible[image]).tolist()]] = True
            mask = seen.expand(17, 17)
            whole = vit.forward_features(x[image : image + 1], attn_mask=mask)[0]
            rows = [0, *(1 + visible[image]).tolist()]
            assert found[image] == pytest.approx(whole[rows], abs=1e-5)


def test_a_transformer_hides_its_own_patches_and_no_other_squares():
    with pytest.raises(UserError, match=r"mim\.params\.unit=8: must be null with a transformer"):
        build("mim", {"unit": 8}, network=VIT, image_size=64)
    build("mim", {"unit": 16}, network=VIT, image_size=64)


def test_the_decoder_is_half_as_wide_and_a_third_as_deep():
    method = made(VIT).method
    assert isinstance(method, MAE)
    assert (method.embed.in_features, method.embed.out_features, len(method.blocks)) == (192, 96, 4)
    assert method.blocks[0].attn.num_heads == 3
    assert method.place.shape == (16, 96)
    assert len({tuple(row.tolist()) for row in method.place}) == 16
    assert "place" not in method.state_dict()


def test_each_backbone_has_its_method_and_all_that_is_trained_has_a_gradient():
    """DDP refuses a parameter without."""
    for name, kind in (("resnet10", SimMIM), (VIT, MAE), ("convnext_atto", SimMIM)):
        task = made(name).train()
        assert type(task.method) is kind
        task.zero_grad()
        task(batch_at(0, task.context))[0].backward()
        assert all(p.grad is not None for p in task.parameters() if p.requires_grad), name
        frozen = [p for p in task.backbone.parameters() if not p.requires_grad]
        assert len(frozen) == (2 if name == "convnext_atto" else 0)  # the norm of pooled features


def test_views_are_crops_and_flips_only():
    for name, crop in (("resnet10", (0.67, 1.0)), (VIT, (0.2, 1.0))):
        given = made(name).view
        assert given.scale == crop
        p = given.preset
        assert (p.hflip, p.vflip, p.rotate) == (True, True, 0)
        assert (p.brightness, p.contrast, p.saturation, p.hue, p.grayscale, p.blur) == (0,) * 6


@pytest.mark.parametrize(("name", "steps"), [("resnet10", 25), (VIT, 60)])
def test_it_learns_more_than_the_mean(name, steps):
    """On a few images, the same each time, it costs less than the mean of all patches does."""
    torch.manual_seed(0)
    few = context(images=8, epoch_steps=1, image_size=64)
    given = {**recipe("mim")["params"], "crop": [1.0, 1.0]}
    task = Plugin(Backbone(name), given, few)
    with torch.no_grad():
        x = task.view(batch_at(0, few).images, Draw(0, 0, 8, "cpu"))
        true = task.method(task.backbone, x, Draw(0, 0, 8, "cpu"))[1]
        mean = true.mean((0, 1), keepdim=True)
        level = float(task.method.error(mean.expand_as(true), true))
    history = train(task.train(), optimiser("mim", task, 1e-3), range(steps))
    last = [row["loss"] for row in history[-5:]]
    assert sum(last) / 5 < 0.9 * level, (last, level)


def test_its_backbone_is_loaded_and_saved_like_any(tmp_path):
    task = made(VIT)
    save_backbone(task.backbone, tmp_path)
    again = load_backbone(Backbone(VIT), tmp_path)
    assert torch.equal(again.net.pos_embed, task.backbone.net.pos_embed)
    assert not [key for key in task.method.state_dict() if "backbone" in key]
    assert mim.Plugin.forwards == (1, 1)
