"""MedMNIST files: their own split, rows in any order, and what is refused."""

import random
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest

from trainables.data import medmnist
from trainables.data.medmnist import Plugin
from trainables.errors import UserError
from trainables.images.cache import open_cache, prepare
from trainables.spec import DataSpec

SHARED = Path(__file__).parents[4] / "shared" / "data" / "medmnist"
PARTS = {"train": 300, "val": 40, "test": 50}


def write(path: Path, shape: tuple[int, ...] = (28, 28), **changes: np.ndarray) -> Path:
    rng, arrays = np.random.default_rng(0), {}
    for part, count in PARTS.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, *shape), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    np.savez_compressed(path, **(arrays | changes))
    return path


def error(root: Path | None, **params: object) -> str:
    with pytest.raises(UserError) as caught:
        Plugin(root, params).table()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (64, 64)])
def test_every_row_is_the_files(
    tmp_path: Path, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks are small here and asked for in any order."""
    monkeypatch.setattr(medmnist, "BLOCK", 7)
    path = write(tmp_path / "x.npz", shape)
    data = Plugin(tmp_path, {})
    table = data.table()
    order = list(range(len(table.names)))
    random.Random(0).shuffle(order)
    with np.load(path) as arrays:
        for i in order:
            part, _, row = table.names[i].partition("_")
            assert np.array_equal(data.read(i), arrays[f"{part}_images"][int(row)])
            label = str(arrays[f"{part}_labels"][int(row), 0])
            assert (table.classes[table.labels[i]], table.parts[i]) == (label, part)
    assert table.groups == table.names


def test_its_own_split_is_used(tmp_path: Path, spec: Callable[..., DataSpec]) -> None:
    path = write(tmp_path / "x.npz")
    data = open_cache(prepare(spec("medmnist"), path, tmp_path / "cache"))
    assert {part: len(index) for part, index in data.split.items()} == PARTS
    for part, index in data.split.items():
        assert {data.names[i].partition("_")[0] for i in index} == {part}


def test_another_file_has_another_digest(tmp_path: Path, spec: Callable[..., DataSpec]) -> None:
    paths = {prepare(spec("medmnist"), write(tmp_path / "x.npz"), tmp_path / "cache").name}
    images = np.zeros((40, 28, 28), np.uint8)
    other = write(tmp_path / "x.npz", val_images=images)
    paths.add(prepare(spec("medmnist"), other, tmp_path / "cache").name)
    assert len(paths) == 2


def test_which_file(tmp_path: Path) -> None:
    assert "must be an .npz file of MedMNIST, or the folder" in error(None)
    assert "holds 0 (none); try data.params.file=NAME.npz" in error(tmp_path)
    write(tmp_path / "a.npz")
    write(tmp_path / "b.npz", shape=(28, 28, 3))
    assert "holds 2 (a.npz, b.npz); try data.params.file=a.npz" in error(tmp_path)
    assert Plugin(tmp_path, {"file": "b.npz"}).read(0).ndim == 3
    assert "c.npz" in error(tmp_path, file="c.npz")


def test_what_is_refused(tmp_path: Path) -> None:
    many = np.zeros((40, 14), np.uint8)
    assert "one label an image, has 14" in error(write(tmp_path / "a.npz", val_labels=many))
    assert "must have 2D images" in error(write(tmp_path / "b.npz", (28, 28, 28)))
    deep = np.zeros((40, 28, 28), np.uint16)
    assert "uint16" in error(write(tmp_path / "c.npz", val_images=deep))
    (tmp_path / "d.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:5000])
    assert "try downloading it again" in error(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", images=many)
    assert "try downloading it again" in error(tmp_path / "e.npz")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """Objects in a file would run code."""
    hostile = np.array([[print]] * 40, object)
    for name in ("val_images", "val_labels"):
        path = write(tmp_path / "x.npz", **{name: hostile})
        assert str(path) in error(path)


def test_a_file_without_compression(tmp_path: Path) -> None:
    packed = write(tmp_path / "x.npz")
    with ZipFile(packed) as old, ZipFile(tmp_path / "y.npz", "w", ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    one, two = Plugin(packed, {}), Plugin(tmp_path / "y.npz", {})
    assert np.array_equal(one.read(77), two.read(77))


def test_a_real_file() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"no real images: {SHARED} is not there")
    data = Plugin(SHARED, {})
    table = data.table()
    assert len(table.names) == 5030
    assert table.classes == ("0", "1")
    assert set(table.parts) == {"train", "val", "test"}
    assert data.read(4000).shape == (28, 28)
