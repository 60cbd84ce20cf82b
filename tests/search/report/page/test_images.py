"""The page of the images: three of every class as the network sees them, kept in its folder."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from search import run
from search.images import Images
from search.report import page
from search.report.page import images as pages
from search.session import Session
from search.space import load
from search.tracking import sharing
from tests.search.console.test_dry_run import estimate
from tests.search.report.page.test_page import TAG, Page, asked

CLASSES = ("mel", TAG.replace("/", ""))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of 20 images of several sizes and modes, one image damaged."""
    for label in CLASSES:
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(20):
            pixels = np.random.default_rng([len(label), i]).integers(0, 256, (40, 50 + i % 2, 3))
            image = Image.fromarray(pixels.astype(np.uint8)).convert("L" if i == 3 else "RGB")
            image.save(tmp_path / "data" / label / f"{label[:3]}{i:02}.png")
    (tmp_path / "data" / "mel" / "cut.png").write_bytes(b"cut")
    return tmp_path / "data"


@pytest.fixture
def decoded(root: Path, tmp_path: Path) -> Images:
    given = [f"data.root={root}", f"cache={tmp_path / 'cache'}", "data.params.damaged=skip"]
    images = Images(load("isic3", ["data=folder", "profile=smoke", "data.trim=true", *given]))
    images.decode(Console(file=io.StringIO()))
    return images


def test_three_training_images_of_every_class_come_from_the_cache(
    decoded: Images, tmp_path: Path
) -> None:
    path = pages.write(decoded.understood, decoded.data, decoded.space.data, tmp_path / "report")
    assert path == tmp_path / "report" / page.IMAGES
    shown = Page(path.read_text())
    found = [given for tag, given in shown.tags if tag == "img"]
    assert len(found) == 3 * len(CLASSES)
    data = decoded.data
    train = {data.names[i] for i in data.split["train"]}
    for given in found:
        label, name = (given["alt"] or "").split(": ")
        row = data.names.index(name)
        assert name in train
        assert data.classes[data.labels[row]] == label
        png = (given["src"] or "").removeprefix("data:image/png;base64,")
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
        assert np.array_equal(seen, data.images[row])
    assert len({given["alt"] for given in found}) == len(found)


def test_the_page_says_what_was_understood(decoded: Images, tmp_path: Path) -> None:
    path = pages.write(decoded.understood, decoded.data, decoded.space.data, tmp_path)
    text = " ".join(Page(path.read_text()).text.split())
    assert "38 PNG RGB, 2 PNG L; 2 sizes from 50 x 40 to 51 x 40 px" in text
    assert "1 damaged images (data.params.damaged=skip) (mel/cut.png)" in text
    assert "a border was cut from 0 of 40 images (0.0%), data.trim=true" in text
    assert "mel2020" in text.replace(" ", "")
    assert "Borders cut, then the middle square of every image" in text


def test_the_template_uses_exactly_what_is_given(decoded: Images) -> None:
    given = pages.values(decoded.understood, decoded.data, decoded.space.data)
    template = Path(pages.__file__).with_name(page.IMAGES)
    assert asked(template.read_text()) == given.keys()


def test_large_images_are_shown_small() -> None:
    square = np.zeros((384, 384, 1), np.uint8)
    shown = Image.open(io.BytesIO(base64.b64decode(pages._png(square))))
    assert (shown.size, shown.mode) == ((160, 160), "L")


@pytest.mark.parametrize(
    ("level", "sent"), [("everything", True), ("no names", False), ("aggregates", False)]
)
def test_it_leaves_its_folder_on_request_only(
    level: sharing.Level, sent: bool, written: tuple[Path, dict[str, Any]], search: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    out, made = written
    picture = out / "report" / page.IMAGES
    picture.write_text("pictures of patients")
    try:
        sharing.copy(level, out / "report", search.table, made, tmp_path)
    finally:
        picture.unlink()
    assert (tmp_path / page.IMAGES).exists() == sent
    assert (tmp_path / "chains.csv").exists()


def test_the_dry_run_decodes_and_shows_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Session, "estimate", lambda _: estimate())
    small = ["profile.batch=2", "profile.bn_groups=1", "tasks.odc.params.clusters=2"]
    command = ["--space", "isic3", "--dry-run", "data=folder", "--data", str(root), *small]
    assert run.main(command) == 2
    assert "mel/cut.png: must be a readable image" in capsys.readouterr().err
    command.append("data.params.damaged=skip")
    assert run.main([*command, "--out", "here"]) == 0
    said = capsys.readouterr().out
    assert "class     mel: 20 images of 20 patient groups; 14 train, 3 val, 3 test\n" in said
    assert "images    38 PNG RGB, 2 PNG L; 2 sizes" in said
    shown = tmp_path / "here" / "report" / page.IMAGES
    assert f"shown     {shown}, with three images of every class\n" in said
    assert shown.exists()
    assert "mel/cut.png" in (shown.parent / "left_out.csv").read_text()
    assert len([*(tmp_path / "runs" / "cache").glob("*/images.npy")]) == 1
    monkeypatch.setattr("trainables.images.cache.decode_all", None)  # a second time it is there
    assert run.main([*command, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["understood"]["split"] == {"train": 28, "val": 6, "test": 6}
