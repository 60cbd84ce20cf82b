"""Views against torchvision's functional transforms for equal parameters."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as V

from trainables.augment import (
    PLACE,
    FullView,
    Pixels,
    View,
    blur,
    level_weights,
    most_blur,
    placement,
    random_blur,
    sample,
)
from trainables.colour import COLOURS, LUMA, Colour, kelvin
from trainables.errors import UserError
from trainables.modality import Preset
from trainables.task import Draw
from trainables.training import distributed

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
EVERYTHING = Preset(True, True, 180, 0.4, 0.4, 0.4, 0.1, grayscale=0.2, blur=0.5, solarise=0.3)


def pixels(n=4, channels=3, side=48):
    noise = torch.rand(
        n, channels, side // 4, side // 4, generator=torch.Generator().manual_seed(0)
    )
    return (F.interpolate(noise, scale_factor=4, mode="bilinear") * 100 + 70).byte()


def draw(n, step=0):
    return Draw(3, step, n, "cpu")


def numbers(n, count):
    return draw(n).uniform(count)


def plain(images, grid):
    """Samples of the image alone, as if they were close together."""
    return sample([images.float()], grid, torch.ones(len(grid)))


@pytest.mark.parametrize("flipped", [False, True])
def test_the_grid_crops_and_flips_like_resized_crop(flipped):
    images, (top, left, height, width), out = pixels(1), (5, 8, 36, 30), 15
    sign = -1 if flipped else 1
    theta = torch.tensor([[[sign * width / 48, 0, (2 * left + width) / 48 - 1],
                           [0, height / 48, (2 * top + height) / 48 - 1]]])  # fmt: skip
    grid = F.affine_grid(theta, [1, 1, out, out], align_corners=False)
    ours = plain(images, grid)
    theirs = V.resized_crop(images.float(), top, left, height, width, [out, out], antialias=False)
    torch.testing.assert_close(ours, theirs.flip(3) if flipped else theirs, atol=1e-3, rtol=0)


def test_crops_lie_inside_the_image_and_have_the_asked_area():
    theta = placement(Preset(), (0.2, 0.6), numbers(500, PLACE))
    half = torch.stack([theta[:, 0, 0], theta[:, 1, 1]], 1)
    assert (theta[:, :, 2].abs() + half <= 1 + 1e-6).all()
    area = half.prod(1)
    assert area.min() > 0.19
    assert 0.55 < area.max() < 0.6 + 1e-6
    assert 3 / 4 - 1e-3 < (half[:, 0] / half[:, 1]).min()


def test_flips_are_fair_and_only_where_allowed():
    theta = placement(Preset(hflip=True), (0.2, 1.0), numbers(2000, PLACE))
    assert abs((theta[:, 0, 0] < 0).float().mean() - 0.5) < 0.05
    assert (theta[:, 1, 1] > 0).all()


def test_rotation_keeps_within_its_angle_and_shows_no_corner():
    theta = placement(Preset(rotate=10), (1.0, 1.0), numbers(200, PLACE))
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
        plain(images, grid)[:, :, inside], theirs[:, :, inside], atol=0.05, rtol=0
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
    ours = changed(Colour(Preset(), MEAN, STD), images, **factors)
    expected = V.normalize(theirs(images.float() / 255), MEAN, STD)
    torch.testing.assert_close(ours, expected, atol=3e-3, rtol=0)


def changed(colour, images, brightness=1.0, contrast=1.0, chroma=1.0, hue=0.0):
    one = torch.ones(len(images))
    matrix = colour.mixed(chroma * one, hue * one)
    return colour.change(images.float(), brightness * one, contrast * one, matrix)


def test_hue_keeps_luma_and_grey():
    colour = Colour(Preset(), (0.0,) * 3, (1.0,) * 3)
    x = pixels().float()
    turned = changed(colour, x, hue=0.2) * 255
    luma = torch.tensor(LUMA).view(3, 1, 1)
    torch.testing.assert_close((turned * luma).sum(1), (x * luma).sum(1), rtol=1e-4, atol=1e-2)
    assert (turned - x).abs().mean() > 5
    grey = x[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(changed(colour, grey, hue=0.2) * 255, grey)


def test_colours_are_clipped_once_as_an_image_is():
    images = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 1, 3, 1).expand(2, 3, 3, 3)
    bright = changed(Colour(Preset(), (0.0,) * 3, (1.0,) * 3), images, brightness=3.0)
    assert bright.unique().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("temperature", [3000.0, 5000.0, 12000.0])
def test_planckian_light_is_that_of_a_black_body(temperature):
    """Planck's law at three wavelengths in place of Wien's, against green at 6,500 K."""
    gain = Colour(Preset(), MEAN, STD).lit(torch.tensor([temperature]))[0].diagonal()

    def planck(wave, kelvin):
        return 1 / wave**5 / math.expm1(14388 / (wave * kelvin))

    for ours, wave in zip(gain.tolist(), (0.6, 0.54, 0.45), strict=True):
        green = planck(0.54, temperature) / planck(0.54, 6500)
        expected = planck(wave, temperature) / planck(wave, 6500) / green
        assert ours == pytest.approx(expected ** (1 / 2.2), rel=0.05)


def test_planckian_jitter_changes_the_light_and_neither_hue_nor_saturation():
    preset = Preset(saturation=0.8, hue=0.2, grayscale=1.0, planckian=True)
    images = pixels(1).expand(400, -1, -1, -1)
    x = Colour(preset, (0.0,) * 3, (1.0,) * 3)(images.float(), numbers(400, COLOURS)) * 255
    gains = (x / images).mean((2, 3))
    torch.testing.assert_close(gains[:, 1], torch.ones(400), rtol=1e-3, atol=0)
    redder, bluer = gains[:, 0] > 1.001, gains[:, 2] > 1.001
    assert not (redder & bluer).any()
    assert 0.15 < (~redder & ~bluer).float().mean() < 0.25  # a fifth of the views is left alone
    warmest = 1 / kelvin(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(warmest, torch.tensor([1 / 15000, 1 / 3000]))


def test_solarised_pixels_are_those_of_torchvision_and_never_of_the_first_view():
    images, colour = pixels(), Colour(Preset(), MEAN, STD)
    x = FullView(MEAN, STD, 48)(images)
    ours = colour.solarise(x, torch.tensor([True, False, True, False]))
    theirs = FullView(MEAN, STD, 48)(V.solarize(images, 128))
    torch.testing.assert_close(ours[::2], theirs[::2])
    assert torch.equal(ours[1::2], x[1::2])
    both = [View(Preset(solarise=p), MEAN, STD, 24, (0.5, 1.0)) for p in (0.0, 1.0)]
    usual, inverted = (view(images, draw(4), 2).unflatten(0, (4, 2)) for view in both)
    assert torch.equal(usual[:, 0], inverted[:, 0])
    assert ((usual - inverted)[:, 1].abs().amax((1, 2, 3)) > 0.5).all()
    assert torch.equal(*(view(images, draw(4)) for view in both))


def test_jitter_leaves_a_fifth_of_the_views_alone():
    images = pixels(1).expand(500, -1, -1, -1)
    x = Colour(Preset(brightness=0.4), MEAN, STD)(images.float(), numbers(500, COLOURS))
    plain = V.normalize(images.float() / 255, MEAN, STD)
    unchanged = (x - plain).abs().amax((1, 2, 3)) < 1e-4
    assert 0.15 < unchanged.float().mean() < 0.25


def test_blur_equals_torchvision_inside_and_zero_is_none():
    x = pixels().float()
    ours = blur(x, torch.tensor([1.0, 1.5, 0.0, 0.0]), 2.0)
    for image, std in enumerate((1.0, 1.5)):
        theirs = V.gaussian_blur(x[image], [13, 13], [std, std])
        torch.testing.assert_close(ours[image], theirs, atol=2e-2, rtol=0)
    torch.testing.assert_close(ours[2:], x[2:])


@pytest.mark.parametrize(("side", "most"), [(32, 1.0), (64, 1.0), (112, 1.0), (224, 2.0)])
def test_blur_is_at_least_a_pixel_and_as_published_at_224_px(side, most):
    assert most_blur(side) == pytest.approx(most)


def test_halvings_are_means_of_squares_and_made_once():
    images = pixels()
    known = Pixels(images)
    assert [level.shape[-1] for level in known.halvings(3.0)] == [48, 24, 12]
    assert [level.shape[-1] for level in known.halvings(1.0)] == [48]
    torch.testing.assert_close(known.levels[1], F.avg_pool2d(images.float(), 2))
    assert known.halvings(2.0)[1] is known.levels[1]
    assert [x.shape[-1] for x in Pixels(images[..., :25, :25]).halvings(1.5)] == [25, 13]


@pytest.mark.parametrize(
    ("spacing", "weights"),
    [(0.5, [1, 0, 0]), (1, [1, 0, 0]), (2**0.25, [0.75, 0.25, 0]), (2, [0, 1, 0]), (9, [0, 0, 1])],
)
def test_a_sample_mixes_the_two_halvings_nearest_to_its_spacing(spacing, weights):
    found = level_weights(torch.tensor([float(spacing)]), 3)
    torch.testing.assert_close(found, torch.tensor([weights], dtype=torch.float32))


@pytest.mark.parametrize("size", [16, 32, 36, 48])
def test_views_have_the_frequencies_of_evaluated_images(size):
    """White noise: the energy that a view of the whole image keeps is the evaluation's."""
    noise = torch.randint(256, (16, 3, 96, 96), generator=torch.manual_seed(0), dtype=torch.uint8)
    ours = View(Preset(rotate=180), (0.5,) * 3, (0.3,) * 3, size, (1.0, 1.0))(noise, draw(16))
    theirs = FullView((0.5,) * 3, (0.3,) * 3, size)(noise)
    assert float(ours.var() / theirs.var()) == pytest.approx(1, abs=0.2)  # 2 to 4 without


def test_two_views_of_an_image_differ_and_may_be_of_two_images():
    view, images = View(EVERYTHING, MEAN, STD, 24, (0.2, 1.0)), pixels()
    both = view(images, draw(4), 2).unflatten(0, (4, 2))
    assert not torch.isclose(both[:, 0], both[:, 1]).all((1, 2, 3)).any()
    twice = view(images.repeat_interleave(2, 0), draw(4), 2).unflatten(0, (4, 2))
    torch.testing.assert_close(twice, both)
    mixed = torch.stack([images, images.flip(0)], 1).flatten(0, 1)
    other = view(mixed, draw(4), 2).unflatten(0, (4, 2))
    torch.testing.assert_close(other[:, 0], both[:, 0])
    assert not torch.isclose(other[:, 1], both[:, 1]).all((1, 2, 3)).any()


def test_a_task_has_its_own_colours_and_crop_and_fine_tuning_none_of_them():
    given = {"hue": 0.02, "tasks": {"moco": {"hue": 0.1, "crop": [0.3, 1.0]}}}
    preset = Preset.of(given)
    assert preset.of_task("moco") == Preset(hue=0.1, crop=(0.3, 1.0))
    assert preset.of_task("odc") == Preset(hue=0.02)
    assert preset.mild() == Preset(hue=0.01)
    assert Preset(hue=0.02, planckian=True).mild() == Preset(hue=0.01), "no light of 3,000 K"
    with pytest.raises(UserError, match=r"^data.augment.tasks.moco.hue=3: must be a number from 0"):
        Preset.of({"tasks": {"moco": {"hue": 3}}})
    with pytest.raises(UserError, match=r"^data.augment.tasks.moco.hua: must be .*; try hue"):
        Preset.of({"tasks": {"moco": {"hua": 0.1}}})


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


def test_a_small_batch_of_which_no_view_is_blurred_stays_as_it_is():
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(random_blur(x.clone(), 0.5, torch.full((2, 2), 0.7)), x)
    assert not torch.equal(random_blur(x.clone(), 0.8, torch.full((2, 2), 0.7)), x)
