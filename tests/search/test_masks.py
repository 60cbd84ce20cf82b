"""A search for segmentation takes images with masks, and a segmenter's file in place of masks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.console.commands import parse
from search.console.request import request
from search.images import Images
from trainables.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LUNGS = [
    "--space", "lungs", "--data", "data", "data=table", "data.channels=1", "profile=smoke",
    "profile.batch=8", "profile.downstream_batch=8", "profile.bn_groups=1",
    "profile.label_fraction=1", "max_length=1", "runtime.groups=1", "runtime.threads=1",
    "store=store", "cache=cache",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """80 images of as many patients, without masks."""
    rng, root = np.random.default_rng(0), tmp_path / "data"
    (root / "images").mkdir(parents=True)
    for k in range(80):
        Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).save(root / f"images/{k:02}.png")
    rows = [f"{k:02}.png,{'sick' if k % 2 else 'well'},P{k}" for k in range(80)]
    (root / "labels.csv").write_text("\n".join(["image,label,group", *rows]))
    monkeypatch.chdir(tmp_path)
    return root


def images(*more: str) -> Images:
    return Images(request(parse([*LUNGS, *more]), 0).space)


def test_images_with_masks_pass_the_check_and_those_without_do_not(folder: Path) -> None:
    with pytest.raises(UserError, match=r"downstream\.kind=segment: must have masks"):
        images().check()
    (folder / "lung_masks").mkdir()
    for k in range(0, 80, 2):
        mask = Image.fromarray(np.eye(32, dtype=np.uint8) * 255)
        mask.save(folder / f"lung_masks/{k:02}.png")
    found = images()
    assert found.check() == len(found.source.split["train"])
    assert found.masked


def test_a_mask_in_training_alone_is_refused_before_anything_is_trained(folder: Path) -> None:
    (folder / "lung_masks").mkdir()
    source = images("data.masks=null", "downstream=classify").source
    name = Path(source.table.names[source.split["train"][0]]).name
    Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(folder / f"lung_masks/{name}")
    with pytest.raises(
        UserError, match=r"data\.masks: must have a mask of an image in val, and has"
    ):
        images().check()


def test_a_segmenter_must_be_one_before_anything_is_trained(folder: Path) -> None:
    (folder / "own.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"^data\.masks=.*: must be a file that a segmentation wr"):
        images(f"data.masks={folder}/own.safetensors")


@pytest.mark.slow
def test_a_search_judges_chains_by_dice_and_its_segmenter_is_taken(folder: Path) -> None:
    (folder / "lung_masks").mkdir()
    square = np.zeros((32, 32), np.uint8)
    square[8:24, 4:20] = 255
    for k in range(80):
        Image.fromarray(square).save(folder / f"lung_masks/{k:02}.png")
    only = ["~tasks.rotation", "~tasks.relative_location", "policy=exhaustive"]
    rates = ["downstream.lr_range=[0.1]", "downstream.lr_range_later=[0.1]"]
    command = [sys.executable, str(ROOT / "search" / "run.py"), *LUNGS, *only, *rates]
    done = subprocess.run(
        [*command, "profile.downstream_steps=20", "repeats=2", "--out", "out", "--json"],
        cwd=folder.parent, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    plain = json.loads(done.stdout.splitlines()[-1])
    assert plain["objective"] == "dice"
    scores = {row["chain"]: row["dice"] for row in plain["chains"] if row["status"] == "done"}
    assert scores.keys() == {"scratch", "moco"}
    assert min(scores.values()) > 60, "the square is a quarter: all inside would have 40"
    assert plain["training_noise"] is not None
    assert (plain["planned"]["chain"], plain["planned"]["split"]) == ("moco", "test")
    assert plain["planned"]["difference"]["low"] < plain["planned"]["difference"]["high"]
    assert not plain["worth_pretraining"].startswith("Whether pretraining pays can't be told")
    assert images("data.masks=out/best/segmenter.safetensors").masked
