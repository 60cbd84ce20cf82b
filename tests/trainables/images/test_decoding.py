"""Decoding takes no more memory than it says before, and no more at once than there is room."""

import subprocess
import sys
import threading
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables import processor
from trainables.data._files import decode, memory
from trainables.errors import UserError
from trainables.images import decoding
from trainables.images import picture as pictures
from trainables.images.decoding import Room
from trainables.images.forms import Form

SIDE = 3000
MEASURE = r"""
import re, sys
from pathlib import Path
from trainables.data._files import decode, memory
from trainables.images.decoding import square

def peak():
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

small, channels = Path(sys.argv[1]), int(sys.argv[2])
square(decode(small, 32), 32, channels)
for path in map(Path, sys.argv[3:]):
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is now's
    before = peak()
    square(decode(path, 96), 96, channels)
    print(path.name, memory(path, 96), peak() - before)
"""
PICTURES = {  # name -> mode
    "grey16.png": "I;16", "grey16.tif": "I;16", "grey32.tif": "I", "float.tif": "F",
    "grey.png": "L", "colour.png": "RGB", "alpha.png": "RGBA", "grey-alpha.png": "LA",
    "palette.png": "P", "black-white.png": "1", "cmyk.tif": "CMYK", "colour.bmp": "RGB",
    "colour.webp": "RGB", "turned.png": "RGB",
}  # fmt: skip


def picture(path: Path, mode: str, side: int) -> Path:
    ramp = np.arange(side * side).reshape(side, side)
    wide = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    if mode in wide:
        image = Image.fromarray((ramp % 65_536).astype(wide[mode]))
    else:
        image = Image.fromarray((ramp % 256).astype(np.uint8)).convert(mode)
    more: dict[str, Any] = {"transparency": 3} if mode == "P" else {}
    if path.stem == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn
        more = {"exif": exif}
    image.save(path, **more)
    return path


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc/self/clear_refs")
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_takes_at_most_what_its_header_says(tmp_path: Path, channels: int) -> None:
    small = picture(tmp_path / "small.png", "RGB", 8)
    paths = [picture(tmp_path / name, mode, SIDE) for name, mode in PICTURES.items()]
    run = [sys.executable, "-c", MEASURE, str(small), str(channels), *map(str, paths)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        name, said, taken = line.split()
        assert int(said) == (20 if PICTURES[name] not in pictures.GREY else 8) * SIDE**2, line
        assert 0.1 * int(said) < int(taken) <= int(said), line
    assert len(done.stdout.splitlines()) == len(PICTURES)


def test_a_jpeg_is_counted_as_reduced_as_it_comes(tmp_path: Path) -> None:
    path = picture(tmp_path / "x.jpg", "RGB", 1600)
    assert memory(path) == 20 * 1600**2
    assert memory(path, 96) == 20 * 200**2
    assert decode(path, 96).shape == (200, 200, 3)


def bomb(path: Path, side: int) -> Path:
    """A PNG whose header promises more pixels than there is room for."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        whole = kind + body
        return len(body).to_bytes(4, "big") + whole + zlib.crc32(whole).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x"))
    return path


@pytest.mark.parametrize("side", [13_342, 40_000])
def test_too_many_pixels_are_refused_by_the_header(
    tmp_path: Path, side: int, recwarn: pytest.WarningsRecorder
) -> None:
    path = bomb(tmp_path / "x.png", side)
    for read in (memory, decode):
        with pytest.raises(UserError, match=r"x.png: must have at most 178 megapixels, has \d+;"):
            read(path)
    assert not recwarn.list


def test_as_many_as_are_allowed_come_to_the_decoder_without_a_word(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    assert memory(bomb(tmp_path / "x.png", 13_341)) == 20 * 13_341**2 <= 20 * pictures.PIXELS
    assert not recwarn.list


def test_no_program_is_run_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PIL calls Ghostscript for PostScript, whatever the file's ending."""
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    (tmp_path / "x.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with pytest.raises(UserError, match="must be a readable image"):
        decode(tmp_path / "x.jpg")


def test_room_is_never_overdrawn_and_all_come_through() -> None:
    room, lock = Room(100), threading.Lock()
    held, most, done = [0], [0], []

    def work(wanted: int) -> None:
        with room.taken(wanted):
            with lock:
                held[0] += min(wanted, 100)
                most[0] = max(most[0], held[0])
                done.append(wanted)
            threading.Event().wait(0.001)
            with lock:
                held[0] -= min(wanted, 100)

    wanted = [30, 70, 1000, 0, 50] * 20
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, wanted))
    assert most == [100]
    assert sorted(done) == sorted(wanted)


def test_a_failure_gives_its_room_back() -> None:
    room = Room(100)
    with pytest.raises(KeyError), room.taken(100):
        raise KeyError
    with room.taken(100):
        pass


@pytest.mark.parametrize(("fit", "expected"), [(1.5, 1), (2.5, 2)])
def test_as_many_pictures_are_decoded_at_once_as_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: float, expected: int
) -> None:
    class Pictures:
        at_work, most, lock = 0, 0, threading.Lock()

        def __init__(self) -> None:
            self.forms = Counter[Form]()

        def memory(self, *_: int) -> int:
            return 1000

        def form(self, _: int) -> None:
            return None

        def read(self, *_: int) -> np.ndarray:
            with self.lock:
                self.at_work += 1
                self.most = max(self.most, self.at_work)
            threading.Event().wait(0.01)
            with self.lock:
                self.at_work -= 1
            return np.zeros((64, 64), np.uint8)

    monkeypatch.setattr(decoding, "free_memory", lambda: int(decoding.MEMORY_DIVISOR * 1000 * fit))
    monkeypatch.setattr(decoding, "cores", lambda: 8)
    spec: Any = SimpleNamespace(size=16, channels=1, fit="crop", trim=False)
    pictures: Any = Pictures()
    decoding.decode_all(spec, pictures, 24, tmp_path / "images.npy", None)
    assert pictures.most == expected
    assert pictures.forms == {Form(64, 64, "grey"): 24}


def test_images_are_handed_to_the_threads_in_blocks_and_told_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Known:
        def __init__(self) -> None:
            self.forms, self.read_at, self.told = Counter[Form](), set[int](), list[int]()

        def memory(self, *_: int) -> int:
            return 1

        def form(self, _: int) -> None:
            return None

        def read(self, i: int, _: int) -> np.ndarray:
            self.read_at.add(i)
            return np.full((16, 16), i, np.uint8)

    monkeypatch.setattr(decoding, "BLOCK", 5)
    spec: Any = SimpleNamespace(size=16, channels=1, fit="crop", trim=False)
    known: Any = Known()
    file = tmp_path / "images.npy"

    def told(done: int, _: int) -> None:
        if not known.told:
            threading.Event().wait(0.2)  # for threads that were handed more to run ahead
            assert max(known.read_at) < decoding.BLOCK
        known.told.append(done)

    decoding.decode_all(spec, known, 23, file, told)
    assert known.told == [*range(1, 24)]
    assert known.read_at == {*range(23)}
    assert (np.load(file)[:, 0, 0, 0] == np.arange(23)).all()


def test_memory_of_a_container(tmp_path: Path) -> None:
    assert processor.free_memory(tmp_path) > 1000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert processor.free_memory(tmp_path) > 1000
    (tmp_path / "memory.max").write_text("1000\n")
    assert processor.free_memory(tmp_path) == 450


@pytest.mark.parametrize("rows", [[0, 2, 5], [5], [], list(range(1000))], ids=len)
def test_some_rows_are_kept_in_place_without_further_room(tmp_path: Path, rows: list[int]) -> None:
    images = np.random.default_rng(0).integers(256, size=(1000, 4, 4, 3)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    before = (tmp_path / "images.npy").stat()
    decoding.keep(tmp_path / "images.npy", rows)
    after = (tmp_path / "images.npy").stat()
    assert np.array_equal(np.load(tmp_path / "images.npy"), images[rows])
    assert after.st_ino == before.st_ino
    assert after.st_size == before.st_size - (1000 - len(rows)) * 48
    assert [path.name for path in tmp_path.iterdir()] == ["images.npy"]


def test_a_file_for_images_takes_its_room_at_once(tmp_path: Path) -> None:
    decoding.created(tmp_path / "images.npy", (1000, 8, 8, 3))
    assert (tmp_path / "images.npy").stat().st_blocks * 512 >= 1000 * 8 * 8 * 3
