"""Data on disk for the tests of data sets: real images if they are there, and tiny drawn ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.spec import DataSpec

MINI = Path(__file__).parents[4] / "shared" / "data" / "isic-mini"
IMAGES = "ISIC_2019_Training_Input"
COLUMNS = "image,MEL,NV,BCC,UNK"


@pytest.fixture
def mini() -> Path:
    if not MINI.is_dir():
        pytest.skip(f"no real images: {MINI} is not there")
    return MINI


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


def save(path: Path, seed: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


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
