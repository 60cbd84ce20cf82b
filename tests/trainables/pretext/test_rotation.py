"""Rotation: four exact turns, counter-clockwise, image by image."""

import torch
from pretext_harness import build

from trainables.pretext.rotation import quarter_turns


def test_direction_is_counter_clockwise():
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 0, 0] = 1  # top left
    places = [turned[0].nonzero().tolist() for turned in quarter_turns(x)]
    assert places == [[[0, 0]], [[3, 0]], [[3, 3]], [[0, 3]]]


def test_turns_are_exact_and_image_by_image():
    x = torch.rand(3, 2, 5, 5)
    turned = quarter_turns(x)
    for image in range(3):
        for k in range(4):
            assert torch.equal(turned[4 * image + k].rot90(-k, (1, 2)), x[image])


def test_views_are_never_turned_before():
    preset = build("rotation").view.preset
    assert (preset.rotate, preset.vflip, preset.hflip) == (0, False, True)
