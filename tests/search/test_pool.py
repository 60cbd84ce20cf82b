"""A search with a pool: its images reach the pretext stages and nothing else."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from search.console.commands import parse
from search.console.request import request
from search.images import Images
from trainables.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SEARCH = [
    "--space", "isic3", "--data", "data", "--data-unlabelled", "more", "data=table",
    "profile=smoke", "~tasks.relative_location", "~tasks.odc", "max_length=1", "controls=true",
    "profile.batch=8", "profile.steps=6", "profile.downstream_batch=8", "profile.bn_groups=1",
    "profile.label_fraction=1", "downstream.lr_range=[0.01]", "tasks.moco.lr_range=[0.01]",
    "downstream.lr_range_later=null",
    "runtime.groups=1", "runtime.threads=1", "store=store", "cache=cache",
]  # fmt: skip


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(small).resize((48, 48)).save(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 labelled images of 20 patients, 20 without a label, 30 more and a copy elsewhere."""
    rows = ["image,label,group"]
    for k in range(80):
        patient = k % 20
        draw(tmp_path / "data" / "images" / f"{k:02}.png", k)
        label = "" if k < 20 else "sick" if patient % 2 else "well"
        rows.append(f"{k:02}.png,{label},P{patient:02}")
    (tmp_path / "data" / "labels.csv").write_text("\n".join(rows))
    for k in range(30):
        draw(tmp_path / "more" / f"new{k:02}.png", 1000 + k)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(*more: str) -> Images:
    return Images(request(parse([*SEARCH, *more]), 0).space)


@pytest.mark.slow
def test_a_search_trains_its_pretext_tasks_on_labelled_and_unlabelled_images(folder: Path) -> None:
    held_out = images().source
    test = held_out.table.names[held_out.split["test"][0]]
    (folder / "more" / "known.png").write_bytes((folder / "data" / "images" / test).read_bytes())
    command = [sys.executable, str(ROOT / "search" / "run.py"), *SEARCH, "--out", "out"]
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=path, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(file.read_text()) for file in folder.glob("store/*/manifest.json")]
    stages = [one for one in found if one["spec"]["kind"] == "pretext"]
    groups = {
        held_out.table.groups[row] for part in ("val", "test") for row in held_out.split[part]
    }
    trained, joined = len(held_out.split["train"]), 20 - len(groups) + 30
    assert Counter(one["result"]["images"] for one in stages) == {trained + joined: 2, trained: 1}
    pooled = [one for one in stages if one["result"]["images"] == trained + joined]
    assert {one["result"]["steps"] for one in pooled} == {6}
    others = [one for one in found if one["spec"]["kind"] not in ("pretext", "start")]
    assert all(one["spec"]["data"]["images"]["spec"]["unlabelled"] is None for one in others)
    summary = json.loads((folder / "out/report/summary.json").read_text())
    pool = {"labelled": trained, "unlabelled": joined, "unknown": 30}
    assert pool.items() <= summary["pool"].items()
    assert summary["without_pool"]["chain"] == "moco"
    rows = csv.DictReader((folder / "out/report/left_out.csv").read_text().splitlines())
    left = [row["name"] for row in rows if row["why"].startswith("unlabelled ")]
    assert sorted(left) == sorted([*(f"{group[1:]}.png" for group in groups), "pool1/known.png"])
    assert f"pretext tasks see {trained + joined} images" in done.stdout
    assert "Control: without the pool, moco has" in done.stdout


@pytest.mark.usefixtures("folder")
def test_a_plan_says_how_many_images_each_part_has() -> None:
    found = images()
    sizes = found.pool.sizes
    assert (sizes.labelled, sizes.images) == (found.check(), sizes.labelled + sizes.unlabelled)
    lines = [one for one in found.understood.lines() if one.startswith(("pool", "left out"))]
    assert lines[0] == (
        f"pool      pretext tasks see {sizes.images} images: {sizes.labelled} to train on and "
        f"{sizes.unlabelled} without a label; 30 of these name no patient, so some may show one of "
        "validation or test"
    )
    assert "unlabelled images of a validation or test patient" in lines[1]
    assert found.understood.as_json()["understood"]["pool"]["unlabelled"] == sizes.unlabelled


@pytest.mark.usefixtures("folder")
def test_a_batch_may_be_as_large_as_the_pool() -> None:
    """MoCo takes a quarter of the images at most; the control has the labelled ones only."""
    batch = "profile.batch=16"
    found = images(batch, "controls=false")
    assert len(found.source.split["train"]) // 4 < 16 <= found.pool.sizes.images // 4
    assert found.check() == len(found.source.split["train"])
    with pytest.raises(UserError, match="or controls=false, as one control trains the best chain"):
        images(batch).check()
    with pytest.raises(UserError, match=r"a quarter of the 8. images; try 2. or less$"):
        images("profile.batch=64", "controls=false").check()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--data-unlabelled", "no"], "--data-unlabelled=/.*/no: must be the folder that holds"),
        (
            ["--data-unlabelled", "out"],
            r"--data-unlabelled=/.*/out: must hold images \(.*none",
        ),
        (["+pool={name: folder}"], "pool.root=: must be the folder that holds images; try pool.ro"),
        (["+pool={name: foldre}"], "pool.name=foldre: must be one of .*; try folder"),
        (["+pool={nmae: folder}"], "pool.nmae: must be one of .*; try name"),
        (
            ["+pool={name: table, root: data, params: {image_column: x}}"],
            "pool.root=/.*: must hold .*no column 'x'.*pool.params.image_column=image",
        ),
        (
            ["+pool={name: demo, params: {exclude_classes: [MEL]}}"],
            "pool.params.exclude_classes=.*: must be left out, as a pool has no classes",
        ),
        (
            ["data.pool={kind: probe}"],
            r"data.unlabelled \(--data-unlabelled\): must be left out with data.pool.kind=probe",
        ),
    ],
)
def test_bad_pools_end_in_one_line(folder: Path, more: list[str], said: str) -> None:
    (folder / "out").mkdir()
    with pytest.raises(UserError, match=said) as caught:
        images(*more)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("folder")
def test_drawn_images_take_no_folder_but_another_data_set() -> None:
    with pytest.raises(UserError, match=r"^--data-unlabelled=x: must be left out with data=demo"):
        request(parse(["--space", "isic3", "--data-unlabelled", "x"]), 0)
    small = ["--space", "isic3", "data.params.n=320", "+data@pool=demo", "pool.params.n=40",
             "pool.params.seed=5"]  # fmt: skip
    space = request(parse(small), 0).space
    found = Images(space)
    assert found.pool is not None
    assert len(found.pool.table.names) == 40


def test_images_of_an_external_set_that_are_trained_on_are_counted(folder: Path) -> None:
    """One of the pool, one of training, one of validation and one of nothing: two were seen."""
    split = images().source.split
    names = images().source.table.names
    known = {
        part: (folder / "data" / "images" / names[split[part][0]]) for part in ("train", "val")
    }
    copied = [*known.values(), folder / "more" / "new07.png"]
    for k, file in enumerate(copied):
        for label in ("sick", "well"):
            place = folder / "other" / label / f"{k}{label}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes()) if label == "sick" else draw(place, 2000 + k)
    found = images("external.other.name=folder", "external.other.root=other")
    found.decode(Console(quiet=True))
    assert found.seen == {"other": 2}
    (said,) = [one for one in found.understood.findings if "external test set other" in one]
    assert said.startswith("2 of the 6 images")
