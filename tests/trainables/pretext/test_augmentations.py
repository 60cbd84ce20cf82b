"""A task's views use the augmentations that it names, and no others."""

from dataclasses import asdict, replace

import pytest
import torch
from pretext_harness import batch_at, build

from search.space import check_plugins, load
from trainables.errors import UserError
from trainables.modality import AUGMENTATIONS, Preset
from trainables.plugins import available
from trainables.plugins import load as plugin

TASKS = available("trainables.pretext")
NONE = Preset()
CHANGED = {
    "hflip": True,
    "vflip": True,
    "rotate": 90.0,
    "brightness": 0.5,
    "contrast": 0.5,
    "saturation": 0.5,
    "hue": 0.3,
    "planckian": True,
    "grayscale": 1.0,
    "blur": 1.0,
    "solarise": 1.0,
    "crop": [0.3, 0.5],
    "small_crop": [0.3, 0.5],
}


class Seen(Exception):
    pass


def views(name, monkeypatch, **changes):
    """What the backbone sees of a batch with these augmentations alone: all its inputs."""
    task = build(name, augment=replace(NONE, **changes))
    seen = []

    def look(*given, **_named):
        seen.append(next(x for x in given if isinstance(x, torch.Tensor)))
        if len(seen) == (2 if name == "swav" else 1):
            raise Seen
        return torch.zeros(len(seen[-1]), task.backbone.width)

    monkeypatch.setattr(task.method if name == "mim" else task.backbone, "forward", look)
    with pytest.raises(Seen):
        task(batch_at(0, task.context))
    return seen


@pytest.mark.parametrize("name", TASKS)
def test_it_uses_those_that_it_names(name, monkeypatch):
    assert CHANGED.keys() == AUGMENTATIONS == asdict(NONE).keys() - {"mean", "std", "tasks"}
    plain = views(name, monkeypatch)
    differing = {
        key
        for key, value in CHANGED.items()
        if any(
            a.shape != b.shape or not torch.equal(a, b)
            for a, b in zip(views(name, monkeypatch, **{key: value}), plain, strict=True)
        )
    }
    assert differing == set(plugin("trainables.pretext", name).augmentations)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("relative_location.blur=1", "relative_location uses none of the modality's augmentations"),
        ("mim.hue=0.1", "mim uses only crop, hflip, vflip"),
        ("rotation.vflip=true", "rotation uses only blur, brightness, "),
        ("odc.solarise=0.1", "odc uses only blur, brightness, "),
        ("moco.mean=[0.5]", "moco uses only blur, brightness, "),
    ],
)
def test_others_are_refused(given, said):
    more = [f"+task@tasks.{name}={name}" for name in ("mim", "rotation")]
    space = load("isic3", [*more, f"data.augment.tasks.{given}"])
    with pytest.raises(UserError) as raised:
        check_plugins(space)
    key = given.partition("=")[0]
    assert str(raised.value).startswith(f"data.augment.tasks.{key}: must be left out, as {said}")
    assert str(raised.value).endswith("; try without it")
