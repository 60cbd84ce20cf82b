"""Views against torchvision's functional transforms for equal parameters."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as V

from trainables.augment import (
    Colour,
    FullView,
    Preset,
    View,
    blur,
    placement,
    sample,
    shrink,
)
from trainables.errors import UserError
from trainables.task import Draw
from trainables.training import distributed

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
EVERYTHING = Preset(True, True, 180, 0.4, 0.4, 0.4, 0.1, 0.2, 0.5)


def pixels(n=4, channels=3, side=48):
    noise = torch.rand(
        n, channels, side // 4, side // 4, generator=torch.Generator().manual_seed(0)
    )
    return (F.interpolate(noise, scale_factor=4, mode="bilinear") * 100 + 70).byte()


def draw(n, step=0):
    return Draw(3, step, n, "cpu")


@pytest.mark.parametrize("flipped", [False, True])
def test_the_grid_crops_and_flips_like_resized_crop(flipped):
    images, (top, left, height, width), out = pixels(1), (5, 8, 36, 30), 15
    sign = -1 if flipped else 1
    theta = torch.tensor([[[sign * width / 48, 0, (2 * left + width) / 48 - 1],
                           [0, height / 48, (2 * top + height) / 48 - 1]]])  # fmt: skip
    grid = F.affine_grid(theta, [1, 1, out, out], align_corners=False)
    ours = sample(images.float(), grid)
    theirs = V.resized_crop(images.float(), top, left, height, width, [out, out], antialias=False)
    torch.testing.assert_close(ours, theirs.flip(3) if flipped else theirs, atol=1e-3, rtol=0)


def test_crops_lie_inside_the_image_and_have_the_asked_area():
    theta = placement(Preset(), (0.2, 0.6), draw(500))
    half = torch.stack([theta[:, 0, 0], theta[:, 1, 1]], 1)
    assert (theta[:, :, 2].abs() + half <= 1 + 1e-6).all()
    area = half.prod(1)
    assert area.min() > 0.19
    assert 0.55 < area.max() < 0.6 + 1e-6
    assert 3 / 4 - 1e-3 < (half[:, 0] / half[:, 1]).min()


def test_flips_are_fair_and_only_where_allowed():
    theta = placement(Preset(hflip=True), (0.2, 1.0), draw(2000))
    assert abs((theta[:, 0, 0] < 0).float().mean() - 0.5) < 0.05
    assert (theta[:, 1, 1] > 0).all()


def test_rotation_keeps_within_its_angle_and_shows_no_corner():
    theta = placement(Preset(rotate=10), (1.0, 1.0), draw(200))
    angle = torch.rad2deg(torch.atan2(theta[:, 1, 0], theta[:, 0, 0]))
    assert 9 < angle.abs().max() <= 10
    white = torch.full((8, 3, 32, 32), 255, dtype=torch.uint8)
    view = View(Preset(rotate=180), (0.0,) * 3, (1.0,) * 3, 24, (0.5, 1.0))
    torch.testing.assert_close(view(white, draw(8)), torch.ones(8, 3, 24, 24))


@pytest.mark.parametrize("degrees", [-75, 20, 90])
def test_rotation_equals_torchvision_inside(degrees):
    angle = torch.tensor(math.radians(degrees))
    theta = torch.tensor([[[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0]]])
    images = pixels(1).float()
    grid = F.affine_grid(theta, [1, 1, 48, 48], align_corners=False)
    theirs = V.rotate(images, degrees, interpolation=V.InterpolationMode.BILINEAR)
    y, x = torch.meshgrid(*[torch.arange(48) - 23.5] * 2, indexing="ij")
    inside = x.square() + y.square() < 22**2
    torch.testing.assert_close(
        sample(images, grid)[:, :, inside], theirs[:, :, inside], atol=0.05, rtol=0
    )


@pytest.mark.parametrize(
    ("given", "theirs"),
    [
        ({"brightness": 1.2}, lambda x: V.adjust_brightness(x, 1.2)),
        ({"contrast": 0.6}, lambda x: V.adjust_contrast(x, 0.6)),
        ({"chroma": 1.4}, lambda x: V.adjust_saturation(x, 1.4)),
        ({"chroma": 0.0}, lambda x: V.rgb_to_grayscale(x, 3)),
        ({"hue": 1.0}, lambda x: x),
        (
            {"brightness": 0.9, "contrast": 1.3, "chroma": 0.7},
            lambda x: V.adjust_saturation(V.adjust_contrast(V.adjust_brightness(x, 0.9), 1.3), 0.7),
        ),
    ],
)
def test_colour_equals_torchvision(given, theirs):
    images = pixels()
    factors = {"brightness": 1.0, "contrast": 1.0, "chroma": 1.0, "hue": 0.0} | given
    ours = Colour(Preset(), MEAN, STD).change(
        images.float(), *(torch.full((4,), value) for value in factors.values())
    )
    expected = V.normalize(theirs(images.float() / 255), MEAN, STD)
    torch.testing.assert_close(ours, expected, atol=3e-3, rtol=0)


def test_hue_keeps_luma_and_grey():
    colour, n = Colour(Preset(), (0.0,) * 3, (1.0,) * 3), torch.ones(4)
    x = pixels().float()
    turned = colour.change(x, n, n, n, n * 0.2) * 255
    luma = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    torch.testing.assert_close((turned * luma).sum(1), (x * luma).sum(1), rtol=1e-4, atol=1e-2)
    assert (turned - x).abs().mean() > 5
    grey = x[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(colour.change(grey, n, n, n, n * 0.2) * 255, grey)


def test_jitter_leaves_a_fifth_of_the_views_alone():
    images = pixels(1).expand(500, -1, -1, -1)
    x = Colour(Preset(brightness=0.4), MEAN, STD)(images.float(), draw(500))
    plain = V.normalize(images.float() / 255, MEAN, STD)
    unchanged = (x - plain).abs().amax((1, 2, 3)) < 1e-4
    assert 0.15 < unchanged.float().mean() < 0.25


def test_blur_equals_torchvision_inside_and_zero_is_none():
    x = pixels().float()
    ours = blur(x, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    theirs = V.gaussian_blur(x[:2], [13, 13], [1.0, 1.0])
    torch.testing.assert_close(ours[:2, :, 8:-8, 8:-8], theirs[:, :, 8:-8, 8:-8], atol=2e-2, rtol=0)
    torch.testing.assert_close(ours[2:], x[2:])
    torch.testing.assert_close(blur(torch.ones(1, 1, 9, 9), torch.ones(1)), torch.ones(1, 1, 9, 9))


def test_shrink_averages_whole_squares():
    images = pixels()
    torch.testing.assert_close(shrink(images, 2), F.avg_pool2d(images.float(), 2))
    assert torch.equal(shrink(images, 0), images.float())


def test_full_view_is_the_normalised_image():
    images = pixels()
    expected = V.normalize(images.float() / 255, MEAN, STD)
    torch.testing.assert_close(FullView(MEAN, STD, 48)(images), expected)
    resized = V.resize(images.float() / 255, [24, 24], antialias=True)
    torch.testing.assert_close(FullView(MEAN, STD, 24)(images), V.normalize(resized, MEAN, STD))


@pytest.mark.parametrize("view", [View(EVERYTHING, MEAN, STD, 24, (0.2, 1.0)),
                                  View(EVERYTHING.mild(), MEAN, STD, 24, (0.5, 1.0))])  # fmt: skip
def test_views_do_not_depend_on_the_number_of_ranks(view, monkeypatch):
    images = pixels(8)
    alone, parts = view(images, draw(8)), []
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(view(images[4 * rank : 4 * rank + 4], draw(4)))
    torch.testing.assert_close(torch.cat(parts), alone)
    assert not torch.equal(view(images, draw(8, step=1)), alone)


def test_one_channel():
    view = View(EVERYTHING, (0.5,), (0.2,), 24, (0.2, 1.0))
    x = view(pixels(channels=1), draw(4))
    assert x.shape == (4, 1, 24, 24)
    assert x.isfinite().all()


def test_buffers_move_but_are_not_saved():
    assert not View(EVERYTHING, MEAN, STD, 24, (0.2, 1.0)).state_dict()


def test_misspelt_preset_names_the_near_match():
    with pytest.raises(UserError, match="try brightness"):
        Preset.of({"brigthness": 0.1})
