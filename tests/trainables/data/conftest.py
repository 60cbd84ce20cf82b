"""Data on disk for the tests of data sets: real images if they are there, and tiny drawn ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainables.data import chest
from trainables.data import Dataset
from trainables.spec import DataSpec

SHARED = Path(__file__).parents[4] / "shared" / "data"
IMAGES = "ISIC_2019_Training_Input"
COLUMNS = "image,MEL,NV,BCC,UNK"
Example = tuple[Path | None, dict[str, object]]  # root and parameters, several images a patient


@pytest.fixture
def mini() -> Path:
    return _real("isic-mini")


@pytest.fixture
def cxr() -> Path:
    return _real("cxr-covid-mini")


def _real(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no real images: {SHARED / name} is not there")
    return SHARED / name


@pytest.fixture
def spec() -> Callable[..., DataSpec]:
    def make(name: str = "demo", **changes: object) -> DataSpec:
        fields = dict(params={}, size=32, channels=3, val=0.2, test=0.2, seed=0)
        return DataSpec(name=name, **{**fields, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def isic(tmp_path: Path) -> Path:
    """12 images of MEL and NV on 8 lesions, one of them without an id, one `_downsampled`."""
    root = tmp_path / "isic"
    (root / IMAGES).mkdir(parents=True)
    truth, metadata = [COLUMNS], ["image,age_approx,anatom_site_general,lesion_id,sex"]
    for i in range(12):
        name = f"ISIC_{i:07}" + ("_downsampled" if i == 3 else "")
        save(root / IMAGES / f"{name}.jpg", i)
        truth.append(f"{name},{'1.0,0.0' if i % 2 else '0.0,1.0'},0.0,0.0")
        lesion = "" if i == 5 else f"L{i % 2}{i // 3}"
        metadata.append(f"{name},50,,{lesion},female")
    write_lines(root / "ISIC_2019_Training_GroundTruth.csv", truth)
    write_lines(root / "ISIC_2019_Training_Metadata.csv", metadata)
    return root


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Classes `a` (PNG, nested) and `b` (JPEG, grey), five images each."""
    root = tmp_path / "folders"
    for i in range(5):
        save(root / "a" / ("deep" if i < 2 else "") / f"a{i}.PNG", i)
        save(root / "b" / f"b{i}.jpeg", i, mode="L")
    return root


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """12 images of `sick` and `well` of 8 patients, one of them without an id; names hold dots."""
    root = tmp_path / "listed"
    rows = ["image,label,group,note"]
    for i in range(12):
        name = f"a.{i:02}.pdf-fig"
        save(root / "images" / ("more" if i < 3 else "") / f"{name}.png", i, mode="L")
        rows.append(
            f"{name},{'sick' if i % 2 else 'well'},{'' if i == 5 else f'P{i % 2}{i // 3}'},"
        )
    write_lines(root / "labels.csv", rows)
    return root


@pytest.fixture
def isic2019_example(isic: Path) -> Example:
    return isic, {}


@pytest.fixture
def table_example(listed: Path) -> Example:
    return listed, {}


@pytest.fixture
def demo_example() -> Example:
    return None, {"n": 160, "size": 32}


@pytest.fixture
def folder_example(folders: Path) -> Example:
    rows = ["image,group", *(f"{c}{i},{c}{i // 2}" for c in "ab" for i in range(5))]
    (folders / "who.csv").write_text("\n".join(rows))
    return folders, {"groups_csv": "who.csv"}


@pytest.fixture
def medmnist_example(tmp_path: Path) -> Example:
    """40 images of 3 classes; every class in every part."""
    rng, arrays = np.random.default_rng(0), {}
    for part, count in {"train": 24, "val": 8, "test": 8}.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28, 3), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    (tmp_path / "medmnist").mkdir()
    np.savez_compressed(tmp_path / "medmnist" / "drawnmnist.npz", **arrays)
    return tmp_path / "medmnist", {}


@pytest.fixture
def chestxray14_example(tmp_path: Path) -> Example:
    """40 images of 20 patients, of no or one finding each."""
    labels = [("No Finding", "Effusion")[i // 2 % 2] for i in range(40)]
    root = chest.chestxray14(tmp_path / "nih", drawn(40), labels)
    return root, {"labels": "one", "splits": None}


@pytest.fixture
def siim_covid19_example(tmp_path: Path) -> Example:
    """48 images of 12 patients, negative or not."""
    pytest.importorskip("pydicom", reason="DICOM needs the extra `dicom`")
    labels = [k // 2 % 2 for k in range(24)]
    return chest.siim_covid19(tmp_path / "siim", drawn(48), labels, [False] * 48), {}


def drawn(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(i).integers(0, 256, (40, 50), np.uint8) for i in range(count)]


def save(path: Path, seed: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def left_out(data: Dataset) -> dict[str, int]:
    """The number of names that are not used, by reason."""
    return {one.what: one.count for one in data.understood().left_out}


def write_lines(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


@pytest.fixture
def change() -> Callable[[Path, str, str], None]:
    def replace(path: Path, old: str, new: str) -> None:
        """Replace one piece of a file's text."""
        text = path.read_bytes().decode()
        assert old in text, (path, old)
        path.write_bytes(text.replace(old, new).encode())

    return replace
