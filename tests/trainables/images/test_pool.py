"""The pool: which images join, what its digest depends on, and what a pretext batch can hold."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from trainables.errors import UserError
from trainables.images import pool
from trainables.images.cache import Source, open_cache
from trainables.images.pool import ALIKE, COPIES, DAMAGED, PART, PATIENT, Pool, Sizes, opened
from trainables.kinds.pretext import _check_partners
from trainables.spec import DataSpec, FurtherData
from trainables.training.feed import Feed

FOLDER = FurtherData("folder", {})
Spec = Callable[..., DataSpec]


def draw(path: Path, seed: int) -> Path:
    """Smooth coloured noise: as unlike as images can be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(small).resize((48, 48)).save(path)
    return path


def brighter(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        ImageEnhance.Brightness(image).enhance(1.15).resize((40, 40)).save(target)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """20 labelled images of 10 patients; one of each without a label; 3 files without a row."""
    root, rows = tmp_path / "data", ["image,label,group"]
    for patient in range(10):
        for view in range(3):
            name = f"p{patient}_{view}.png"
            draw(root / "images" / name, 10 * patient + view)
            label = "" if view == 2 else "sick" if patient % 2 else "well"
            rows.append(f"{name},{label},P{patient}")
    for k in range(3):
        draw(root / "images" / f"bare{k}.png", 1000 + k)
    (root / "labels.csv").write_text("\n".join(rows))
    return root


@pytest.fixture
def made(spec: Spec, root: Path) -> Callable[..., Pool]:
    def make(*roots: Path | None, further: tuple[FurtherData, ...] = (), **changes: object) -> Pool:
        labelled = spec("table", **changes)
        more = further or (FOLDER,) * len(roots)
        return Pool(replace(labelled, unlabelled=more), Source(labelled, root), roots)

    return make


def patients(found: Source, *parts: str) -> set[str]:
    return {found.table.groups[row] for part in parts for row in found.split[part]}


def outside(found: Pool) -> dict[str, list[str]]:
    return {why: sorted(names) for why, names in found.left_out.items()}


def test_images_without_a_label_join_by_patient(made, tmp_path):
    found = made()
    held_out = patients(found.labelled, "val", "test")
    assert len(held_out) == 4
    expected = {PATIENT: sorted(f"p{group[1:]}_2.png" for group in held_out)}
    assert outside(found) == expected
    assert found.sizes == Sizes(labelled=12, unlabelled=6 + 3, unknown=3)
    data = found.opened(tmp_path / "cache")
    assert (found.sizes, outside(found)) == (Sizes(12, 9, 3), expected)
    assert len(data.split["train"]) == 21
    labelled = open_cache(found.labelled.prepare(tmp_path / "cache"))
    assert np.array_equal(data.images, labelled.images)
    assert (data.mean, data.std) == (labelled.mean, labelled.std), "as fine-tuning has them"


def test_the_pool_has_the_classes_of_the_labelled_images(made, tmp_path):
    """Before and after it is decoded, as the number of ODC's clusters must not change."""
    pool = made()
    assert pool.classes == pool.opened(tmp_path).classes == ("sick", "well")


def test_near_duplicates_and_copies_of_held_out_patients_never_join(made, root, tmp_path):
    found, folder = made(), tmp_path / "more"
    test, train = (sorted(patients(found.labelled, part))[0][1:] for part in ("test", "train"))
    images = root / "images"
    draw(folder / "deep" / "new.png", 5000)
    draw(folder / "again" / "new.png", 5000)  # a copy of that
    brighter(images / f"p{test}_0.png", folder / "a.jpg")  # of a test image
    brighter(images / f"p{test}_2.png", folder / "b.jpg")  # of a test patient's, without a label
    brighter(images / f"p{train}_0.png", folder / "c.jpg")  # of a training image: may join
    (folder / "d.png").write_bytes((images / f"p{train}_1.png").read_bytes())
    (folder / "e.png").write_bytes((images / f"p{test}_1.png").read_bytes())
    (folder / "f.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("x")
    found = made(folder)
    data = found.opened(tmp_path / "cache")
    left = outside(found)
    held_out = patients(found.labelled, "val", "test")
    assert left == {
        PATIENT: sorted(f"p{group[1:]}_2.png" for group in held_out),
        ALIKE: ["pool1/a.jpg", "pool1/b.jpg", "pool1/e.png"],
        COPIES: ["pool1/d.png"],
        DAMAGED: ["pool1/f.jpg"],
    }
    assert found.sizes == Sizes(12, 9 + 2, 3 + 2)
    assert len(data.split["train"]) == 23
    noted = {why: len(names) for one in found.notes for why, names in one.names.items()}
    assert noted == {why: len(names) for why, names in left.items()} | {
        "copies of other images (equal bytes)": 1
    }


def test_a_batch_holds_every_image_of_the_pool_and_no_other(made, tmp_path):
    """In one epoch each image comes once, whichever of the two caches it lies in."""
    data = made().opened(tmp_path / "cache")
    feed = Feed(data, data.split["train"], 7, 3, torch.device("cpu"))
    seen = torch.cat([feed.batch(step).images for step in range(feed.epoch_steps)])
    expected = np.concatenate([data.images[data.split["train"][:12]], data.pool])
    assert sorted(map(sums, seen.permute(0, 2, 3, 1).numpy())) == sorted(map(sums, expected))
    mixed = [int((feed.batch(step).index >= 12).sum()) for step in range(3)]
    assert sum(mixed) == 9
    assert max(mixed) < 7  # both kinds in every batch
    forbidden = {sums(data.images[row]) for part in ("val", "test") for row in data.split[part]}
    assert not forbidden & {*map(sums, seen.permute(0, 2, 3, 1).numpy())}
    feed._pool.shutdown()


def sums(image: np.ndarray) -> bytes:
    return np.ascontiguousarray(image).tobytes()


def test_a_part_of_a_given_split_keeps_images_without_a_label_out(spec, root, tmp_path):
    lines = (root / "labels.csv").read_text().splitlines()
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    rows = [f"{line},{parts[int(line[1])]}" for line in lines[1:]]
    rows += ["bare0.png,,Q,test", "bare1.png,,Q,train", "bare2.png,,,"]
    (root / "labels.csv").write_text("\n".join([f"{lines[0]},split", *rows]))
    labelled = spec("table", params={"split_column": "split"})
    found = Pool(replace(labelled, unlabelled=()), Source(labelled, root), [])
    found.opened(tmp_path / "cache")
    held_out = sorted(f"p{k}_2.png" for k in range(6, 10))
    assert outside(found) == {PART: ["bare0.png", *held_out]}


def test_the_digest_knows_labelled_images_folders_and_patients(made, root, tmp_path):
    cache, folder = tmp_path / "cache", tmp_path / "more"
    draw(folder / "new.png", 5000)
    own, both = made().digest(cache), made(folder).digest(cache)
    assert len({own, both, made().labelled.digest(cache)}) == 3
    assert (made().digest(cache), made(folder).digest(cache)) == (own, both)
    folder.rename(tmp_path / "elsewhere")
    assert made(tmp_path / "elsewhere").digest(cache) == both
    draw(tmp_path / "elsewhere" / "new.png", 5001)
    assert made(tmp_path / "elsewhere").digest(cache) != both
    assert made(seed=1).digest(cache) != own  # another split: others join
    table = root / "labels.csv"
    before = made().labelled.digest(cache)
    table.write_text(table.read_text().replace("p0_2.png,,P0", "p0_2.png,,P1"))
    assert made().labelled.digest(cache) == before
    assert made().digest(cache) != own


def test_a_second_start_decodes_nothing(made, tmp_path, monkeypatch):
    first = made().opened(tmp_path / "cache")
    monkeypatch.setattr(pool.Pool, "_build", None)
    found = made()
    data = found.opened(tmp_path / "cache")
    assert (data.digest, list(data.split["train"])) == (first.digest, list(first.split["train"]))
    assert outside(found)[PATIENT]


def test_another_data_set_is_the_pool_with_the_channels_of_the_first(spec, root, tmp_path):
    further = (FurtherData("demo", {"n": 30, "size": 32}), FOLDER)
    draw(tmp_path / "grey" / "x.png", 7)
    one = replace(spec("table", channels=1), unlabelled=further)
    data = opened(one, [root, None, tmp_path / "grey"], tmp_path / "cache")
    assert data.pool is not None
    assert data.pool.shape == (9 + 30 + 1, 32, 32, 1)
    assert data.images.shape == (20, 32, 32, 1)


def test_a_table_of_the_pool_needs_no_labels_but_has_patients(made, tmp_path):
    other = tmp_path / "other"
    for k, _ in enumerate(rows := ["P0", "P1", "X", "nan"]):
        draw(other / "images" / f"o{k}.png", 900 + k)
    lines = [f"o{k}.png,{patient}" for k, patient in enumerate(rows)]
    (other / "labels.csv").write_text("\n".join(["image,group", *lines]))
    found = made(other, further=(FurtherData("table", {}),))
    held_out = patients(found.labelled, "val", "test")
    expected = [f"pool1/o{k}.png" for k, patient in enumerate(rows) if patient in held_out]
    assert [name for name in found.left_out[PATIENT] if "/" in name] == expected
    assert found.sizes == Sizes(12, 9 + 4 - len(expected), 3 + 1)


def test_patients_that_are_merged_with_held_out_ones_stay_out(spec, tmp_path):
    """P1's labelled image copies one of P0; so both are on one side, with P1's unlabelled one."""
    root, rows = tmp_path / "data", ["image,label,group"]
    for patient in range(10):
        for view in range(2):
            same = 0 if patient == 1 and view == 0 else 10 * patient + view
            draw(root / "images" / f"p{patient}_{view}.png", same)
            rows.append(f"p{patient}_{view}.png,{'sick' if patient > 4 else 'well'},P{patient}")
        draw(root / "images" / f"p{patient}_u.png", 500 + patient)
        rows.append(f"p{patient}_u.png,,P{patient}")
    (root / "labels.csv").write_text("\n".join(rows))
    sides = set()
    for fraction in (0.2, 0.4):  # the largest patient group goes to the largest part
        labelled = spec("table", merge_duplicates=True, val=fraction, test=fraction)
        found = Pool(replace(labelled, unlabelled=()), Source(labelled, root), [])
        data = found.opened(tmp_path / "cache")
        place = {name: part for part, at in data.split.items() for name in at if name < 20}
        side = {data.names[row]: part for row, part in place.items()}
        left = {name[1] for name in found.left_out[PATIENT]}
        assert left == {name[1] for name, part in side.items() if part != "train"}
        assert ("0" in left) == ("1" in left)
        sides.add("1" in left)
    assert sides == {True, False}


def test_bad_pools_end_in_one_line(made, root, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("x")
    only = tmp_path / "only"
    held = sorted(patients(made().labelled, "test"))[0]
    draw(only / f"{held}.png", 1)
    bad = tmp_path / "bad"
    bad.mkdir()
    for k in range(20):
        (bad / f"{k}.jpg").write_bytes(b"no image")
    pattern = (FurtherData("folder", {"group_pattern": r"P\d+"}),)
    cases = {
        "must be the folder that holds images": lambda: made(tmp_path / "no"),
        "must hold images (": lambda: made(tmp_path / "empty"),
        'exclude_classes=["a"]: must be left out': lambda: made(
            None, further=(FurtherData("demo", {"exclude_classes": ["a"]}),)
        ),
        "must be readable, and 20 of 33 are not": lambda: made(bad).opened(tmp_path / "cache"),
    }
    for said, act in cases.items():
        with pytest.raises(UserError) as caught:
            act()
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    for path in (root / "images").glob("bare*"):
        path.unlink()
    table = root / "labels.csv"
    kept = [line for line in table.read_text().splitlines() if "_2.png" not in line]
    table.write_text("\n".join(kept))
    for path in (root / "images").glob("*_2.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"^the pool: must have .* has none \(1 unlabelled images"):
        made(only, further=pattern)
    assert made().sizes.unlabelled == 0


def test_positives_of_a_patient_need_one_with_several_images(made, spec, tmp_path):
    _check_partners("moco", made())
    rows = ["image,label,group", *(f"{k}.png,{'ab'[k % 2]},P{k}" for k in range(20))]
    for k in range(20):
        draw(tmp_path / "alone" / "images" / f"{k}.png", k)
    (tmp_path / "alone" / "labels.csv").write_text("\n".join(rows))
    alone = Source(spec("table"), tmp_path / "alone")
    with pytest.raises(UserError, match=r"^tasks\.byol\.params\.positives=group: must have a pat"):
        _check_partners("byol", alone)
