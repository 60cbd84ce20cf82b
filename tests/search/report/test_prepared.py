"""`best/load.py` prepares an image as the training did: every kind of file, every fit."""

import importlib.util
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from search.chains.images import data_spec
from search.chains.plan import Plan
from search.report import best, prepared
from search.space import load
from tests.search.report.conftest import load_snippet
from trainables.augment import FullView
from trainables.images.cache import open_cache, prepare

SHARED = Path(__file__).parents[4] / "shared" / "data"
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")
META = {"mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}


def image(mode: str, width: int, height: int) -> Image.Image:
    """A picture whose ends differ, in a dark frame with round corners."""
    ramp = np.add.outer(np.arange(height) * 2, np.arange(width) * 3) % 200 + 50
    circle = Image.new("L", (width, height))
    ImageDraw.Draw(circle).rounded_rectangle((4, 6, width - 5, height - 7), 40, fill=1)
    grey = ramp * np.asarray(circle)
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray((grey * 100 + (mode == "I") * 70_000).astype(kind))
    colours = np.stack([grey, grey // 3, grey // 2], -1).astype(np.uint8)
    return Image.fromarray(colours).convert("RGBA" if mode == "LA" else "RGB").convert(mode)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders with a file of every mode, wide and tall, and a JPEG that is turned."""
    root = tmp_path_factory.mktemp("pictures")
    for folder, size in {"tall": (120, 200), "wide": (210, 130)}.items():
        (root / folder).mkdir()
        for mode in MODES:
            ending = "tif" if mode in ("CMYK", "I", "F") else "png"
            image(mode, *size).save(root / folder / f"{mode.replace(';', '')}.{ending}")
        exif = Image.Exif()
        exif[0x0112] = 6
        image("RGB", 5 * size[0], 5 * size[1]).save(root / folder / "turned.jpg", exif=exif)
        for dicom in sorted((SHARED / "dicom").glob("RG1*")) if _pydicom() else ():
            shutil.copy(dicom, root / folder)
    return root


def _pydicom() -> bool:
    return importlib.util.find_spec("pydicom") is not None


def module(plan: Plan, folder: Path) -> Any:
    path = folder / best.SNIPPET
    path.write_text(best.snippet(plan, "odc>moco", json.loads(json.dumps(META))))
    return load_snippet(path)


CHOICES = itertools.product(("crop", "pad", "stretch"), (False, True), (3, 1), (None, [0, 9000]))


@pytest.mark.parametrize(("fit", "trim", "channels", "window"), CHOICES)
def test_files_are_prepared_as_in_training(
    pictures: Path, tmp_path: Path, fit: str, trim: bool, channels: int, window: list[int] | None
) -> None:
    chosen = {"data.fit": fit, "data.trim": trim, "data.channels": channels, "data.window": window}
    said = [f"{key}={json.dumps(value)}".replace('"', "") for key, value in chosen.items()]
    space = load("isic3", ["data=folder", "data.val=0.3", "data.test=0.3", *said])
    made = module(Plan(space, ""), tmp_path)
    data = open_cache(prepare(data_spec(space), pictures, tmp_path / "cache"))
    view = FullView(tuple(made.MEAN), tuple(made.STD), space.profile.image_size)
    ours = view(torch.from_numpy(np.array(data.images)).permute(0, 3, 1, 2))
    theirs = made.preprocess([made.read(pictures / name) for name in data.names])
    assert len(data.names) >= 2 * len(MODES) + 2
    assert ours.std() > 0.3
    assert torch.equal(ours, theirs)
    assert (data.found["trimmed"] > len(MODES)) == trim, data.found


def test_each_setting_changes_what_is_seen(pictures: Path, tmp_path: Path) -> None:
    """The test above could not fail if they changed nothing."""
    seen = []
    for said in ([], ["data.fit=pad"], ["data.fit=stretch"], ["data.trim=true"],
                 ["data.window=[0,9000]"]):  # fmt: skip
        made = module(Plan(load("isic3", said), ""), tmp_path)
        seen.append(made.preprocess([made.read(pictures / "wide" / "I16.png")]))
    for one, two in itertools.combinations(seen, 2):
        assert (one - two).abs().mean() > 0.05


def test_a_batch_of_pixels_is_prepared_alike(pictures: Path, tmp_path: Path) -> None:
    made = module(Plan(load("isic3", ["data.fit=pad"]), ""), tmp_path)
    one = made.read(pictures / "wide" / "RGB.png")
    assert one.shape == (3, 130, 210)
    assert torch.equal(made.preprocess(one[None]), made.preprocess([one]))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    made = module(Plan(load("isic3"), ""), tmp_path)
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(made.UserError, match=r"x\.png: must be a readable image"):
        made.read(tmp_path / "x.png")


def test_the_functions_need_nothing_of_this_project(tmp_path: Path) -> None:
    """Neither a module of it nor a name that load.py lacks."""
    module(Plan(load("isic3"), ""), tmp_path)
    run = [sys.executable, "-I", "-m", "ruff", "check", "--isolated", "--select", "F"]
    path = tmp_path / best.SNIPPET
    assert "trainables" not in path.read_text().replace("`", "")
    done = subprocess.run([*run, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_words() -> None:
    assert prepared.words(load("isic3").data, 96) == (
        "The middle square of every image, 96 x 96 px, RGB"
    )
    chosen = ["data.fit=pad", "data.trim=true", "data.channels=1", "data.window=[-100,400]"]
    assert prepared.words(load("isic3", chosen).data, 96) == (
        "Borders cut, then every image with black bars to a square, 96 x 96 px, grey, values of "
        "more than 8 bits from [-100.0, 400.0]"
    )


def test_images_without_colours_are_said_to_be_grey() -> None:
    grey = np.random.default_rng(0).integers(0, 250, (300, 8, 8, 1), np.uint8).repeat(3, 3)
    almost = grey.copy()
    almost[..., 1] += 2  # as JPEG rounds
    one = grey.copy()
    one[3, 0, 0, 1] += 3  # one of the hundred that are checked
    data = load("isic3").data
    assert [*prepared.colourless(grey, data)] == [*prepared.colourless(almost, data)]
    (said,) = prepared.colourless(grey, data)
    assert said.startswith(
        "none of 100 images that were checked has colours; for X-rays add modality"
    )
    assert [*prepared.colourless(one, data)] == []
    assert [*prepared.colourless(grey[..., :1], load("isic3", ["data.channels=1"]).data)] == []


def test_findings_are_said() -> None:
    plain, cut = load("isic3").data, load("isic3", ["data.trim=true"]).data
    found = {"trimmed": 30, "unsound": 2}
    assert list(prepared.findings({}, 400, plain)) == []
    assert list(prepared.findings(found, 400, cut)) == [
        "a border was cut from 30 of 400 images (7.5%), data.trim=true",
        "2 images have values that are NaN or infinite; NaN is shown black",
    ]
