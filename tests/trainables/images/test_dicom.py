"""DICOM: real files with the pitfalls of radiographs, and small ones with known answers."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables.data._files import decode, memory
from trainables.data._walk import walk
from trainables.errors import UserError
from trainables.images import picture

pydicom = pytest.importorskip("pydicom", reason="DICOM needs the extra `dicom`")

SHARED = Path(__file__).parents[4] / "shared" / "data" / "dicom"
RAMP = np.arange(1024, dtype=np.uint16).reshape(32, 32)


@pytest.fixture
def real() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"no real images: {SHARED} is not there")
    return SHARED


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def written(pixels: np.ndarray = RAMP, name: str = "x.dcm", **tags: Any) -> Path:
        header = pydicom.Dataset()
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
        bits = 8 * pixels.dtype.itemsize
        fields = {
            "Rows": pixels.shape[0], "Columns": pixels.shape[1], "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": bits, "BitsStored": bits,
            "HighBit": bits - 1, "PixelRepresentation": int(pixels.dtype.kind == "i"),
        }  # fmt: skip
        for tag, value in (fields | tags).items():
            setattr(header, tag, value)
        header.PixelData = pixels.tobytes()
        header.save_as(tmp_path / name, enforce_file_format=True)
        return tmp_path / name

    return written


def lut(values: list[int], first: int = 0, bits: int = 8) -> Any:
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.add_new(0x00283006, "US", values)  # LUTData
    return pydicom.Sequence([item])


def test_a_window_is_applied_after_the_rescale(make: Callable[..., Path]) -> None:
    stored = make(
        BitsStored=12, HighBit=11, RescaleSlope="2", RescaleIntercept="-1000",
        WindowCenter=["0.5", "9"], WindowWidth=["1001", "9"],
    )  # fmt: skip
    values = RAMP.astype(float) * 2 - 1000
    assert np.abs(decode(stored) - ((values + 500) / 1000 * 255).clip(0, 255)).max() <= 1


def test_a_voi_lut_wins_over_a_window_and_a_modality_lut_comes_first(
    make: Callable[..., Path],
) -> None:
    rising = list(range(0, 256, 4))
    first = lut([min(63, i // 16) for i in range(1024)])
    stored = make(
        ModalityLUTSequence=first, VOILUTSequence=lut(rising), WindowCenter="5", WindowWidth="2"
    )
    wanted = np.array(rising)[RAMP // 16] * (255 / 252)
    assert np.abs(decode(stored) - wanted).max() <= 1


def test_a_stated_window_wins_over_the_files(make: Callable[..., Path]) -> None:
    stored = make(WindowCenter="5", WindowWidth="2", RescaleSlope="1", RescaleIntercept="-100")
    found = decode(stored, window=(-100, 923))
    assert np.abs(found - RAMP * (255 / 1023)).max() <= 1


@pytest.mark.parametrize("window", [{}, {"WindowWidth": "0", "WindowCenter": "5"}])
def test_without_a_usable_window_single_pixels_decide_nothing(
    make: Callable[..., Path], window: dict[str, str]
) -> None:
    hot = RAMP.copy()
    hot[0, 0] = 65535
    clean, spoilt = decode(make(RAMP, **window)), decode(make(hot, **window))
    assert np.array_equal(clean.ravel()[1:], spoilt.ravel()[1:])
    assert clean.std() > 60


@pytest.mark.parametrize("window", [False, True])
def test_monochrome1_of_a_picture_is_its_monochrome2(
    make: Callable[..., Path], window: bool
) -> None:
    """Width - 1 of a linear window is the span; the centres mirror each other."""
    tags = ({"WindowCenter": "400.5", "WindowWidth": "601"}, {"WindowCenter": "623.5"})
    second = make(RAMP, **(tags[0] if window else {}))
    wanted = decode(second)
    negative = (1023 - RAMP).astype(np.uint16)
    more = tags[0] | tags[1] if window else {}
    found = decode(make(negative, PhotometricInterpretation="MONOCHROME1", **more))
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_colours_and_a_constant_picture(make: Callable[..., Path]) -> None:
    colours = np.zeros((16, 16, 3), np.uint8)
    colours[..., 1] = 200
    stored = make(
        colours, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0
    )
    assert np.array_equal(decode(stored), colours)
    assert not decode(make(np.full((8, 8), 300, np.uint16))).any()


def test_bits_of_an_overlay_are_not_pixels(make: Callable[..., Path]) -> None:
    marked = RAMP.copy()
    marked[5, 5] |= 1 << 14
    tags = {"BitsStored": 12, "HighBit": 11, "WindowCenter": "512", "WindowWidth": "1024"}
    assert np.array_equal(decode(make(marked, **tags)), decode(make(RAMP, **tags)))


def test_what_is_no_single_image_is_refused_in_one_line(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    cine = make(np.zeros((3, 8, 8), np.uint8), Rows=8, Columns=8, NumberOfFrames="3")
    (tmp_path / "page.dcm").write_text("<html>403 Forbidden</html>" * 20)
    (tmp_path / "empty.dcm").write_bytes(b"")
    cut = make(name="cut.dcm")
    cut.write_bytes(cut.read_bytes()[:-900])
    for path, said in {
        cine: "must be one image, not 3 frames; try saving each frame",
        tmp_path / "page.dcm": "must be a readable image",
        tmp_path / "empty.dcm": "must be a readable image",
        cut: "must be a readable image",
    }.items():
        with pytest.raises(UserError, match=said) as caught:
            decode(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_too_many_pixels_are_refused_by_the_header(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "PIXELS", 1000)
    with pytest.raises(UserError, match="must have at most"):
        decode(make())


def test_files_are_found_by_ending_or_content(make: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a.DCM", "IM0001", "1.2.840.113.7", "b.jpg"):
        make(name=name)
    (tmp_path / "README").write_text("no image")
    (tmp_path / "c.5").write_text("no image")
    found = walk(tmp_path)
    assert found.images == ("1.2.840.113.7", "IM0001", "a.DCM", "b.jpg")
    assert found.others == {".5": 1, "no ending": 1}
    assert {decode(tmp_path / name).shape for name in found.images} == {(32, 32)}


def test_without_pydicom_one_line_says_so(make: Callable[..., Path]) -> None:
    code = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from pathlib import Path; from trainables.data._files import decode, memory\n"
        "from trainables.errors import UserError\n"
        "for read in (decode, memory):\n"
        "    try: read(Path(sys.argv[1]))\n"
        "    except UserError as error: print(error)"
    )
    path = make()
    run = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    line = f"{path}: must be read by pydicom, which is not installed; try uv sync --extra dicom"
    assert done.stdout.splitlines() == [line, line]


# file -> shape, mean of the whole, of the upper left corner and of the centre, 0..255
ANSWERS: dict[str, tuple[tuple[int, ...], int, int, int]] = {
    "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm": ((1024, 1024), 160, 9, 212),
    "Fake_MONOHR1.dcm": ((1024, 1024), 95, 246, 43),
    "JPEG-LL.dcm": ((1024, 256), 37, 0, 32),
    "MR-SIEMENS-DICOM-WithOverlays.dcm": ((484, 484), 30, 0, 51),
    "OBXXXX1A.dcm": ((600, 800, 3), 12, 85, 1),
    "RG1_J2KI.dcm": ((1955, 1841), 192, 88, 226),
    "RG3_J2KI.dcm": ((1760, 1760), 178, 255, 176),
    "RG3_J2KR.dcm": ((1760, 1760), 178, 255, 176),
    "color-pl.dcm": ((120, 256, 3), 43, 40, 86),
    "mlut_18.dcm": ((512, 512), 129, 144, 130),
    "vlut_04.dcm": ((512, 512), 129, 144, 130),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_real_files_come_out_as_they_were_seen_to(real: Path, name: str) -> None:
    """The pictures were looked at once: bones are white, contrast is usable, colours are right."""
    shape, *means = ANSWERS[name]
    pixels = decode(real / name)
    y, x = (side // 2 for side in pixels.shape[:2])
    parts = (pixels, pixels[:20, :20], pixels[y - 20 : y + 20, x - 20 : x + 20])
    assert pixels.shape == shape
    assert np.allclose([part.mean() for part in parts], means, atol=2)
    assert pixels.std() > 30
    assert memory(real / name) >= 2 * pixels.nbytes


def test_real_pairs(real: Path) -> None:
    """Lossy and lossless are nearly one picture; the same values as MONOCHROME1 are inverted."""
    lossy, lossless = (decode(real / f"RG3_J2K{kind}.dcm").astype(int) for kind in "IR")
    assert np.abs(lossy - lossless).mean() < 2
    plain, inverted = sorted(path for path in real.glob("*.dcm") if path.name[0] in "1F")
    assert np.array_equal(decode(inverted), 255 - decode(plain))


def test_dicom_stands_beside_png(make: Callable[..., Path], tmp_path: Path) -> None:
    """16 bits as PNG and as DICOM give the same picture."""
    Image.fromarray(RAMP).save(tmp_path / "x.png")
    assert np.array_equal(decode(make()), decode(tmp_path / "x.png"))
