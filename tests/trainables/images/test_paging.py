"""Rows of a memory map are fetched exactly, whatever the map begins with."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from trainables.images import paging

pytestmark = pytest.mark.skipif(not paging.KNOWN, reason="no madvise on this system")


class Recorder(mmap.mmap):
    asked: list[tuple[int, ...]]

    def madvise(self, *given: int) -> None:
        self.asked.append(given)
        super().madvise(*given)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    Recorder.asked = []
    np.save(
        tmp_path / "x.npy", np.arange(40 * 3000, dtype=np.uint32).view(np.uint8).reshape(40, -1)
    )
    monkeypatch.setattr("mmap.mmap", Recorder)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def test_each_row_is_asked_for_with_the_pages_it_lies_in(images: np.ndarray) -> None:
    paging.rows_only(images)
    paging.announce(images, [0, 7, 39])
    assert Recorder.asked[0] == (mmap.MADV_RANDOM,)
    assert [given[0] for given in Recorder.asked[1:]] == [mmap.MADV_WILLNEED] * 3
    for row, (_, start, length) in zip((0, 7, 39), Recorder.asked[1:], strict=True):
        begin = 128 + 12_000 * row  # numpy's header has 128 bytes
        assert start % mmap.PAGESIZE == 0
        assert 0 <= begin - start < mmap.PAGESIZE
        assert start + length == begin + 12_000


def test_what_is_no_whole_map_is_left_alone(images: np.ndarray) -> None:
    for other in (np.zeros((4, 8), np.uint8), images[2:]):
        paging.rows_only(other)
        paging.announce(other, [0, 1])
    assert Recorder.asked == []
