"""The ledger of uses of test images: each result once, every earlier one counted."""

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from search.report import ledger as ledger
from search.report.stored import images
from tests.search.report.conftest import Search

USE = ledger.Use(
    "2026-01-31T09:30:00+00:00", "isic3", "d" * 16, "val 0.15, test 0.15, seed 0", "a>b scratch",
    "/runs/one", "k1 k2",
)  # fmt: skip


def test_a_result_counts_once_and_another_counts_it(tmp_path: Path) -> None:
    assert ledger.record(USE, tmp_path) == ledger.Seen(0)
    later = replace(USE, time="2026-02-01T00:00:00+00:00")
    assert ledger.record(later, tmp_path) == ledger.Seen(0)
    assert ledger.read(tmp_path / ledger.FILE) == [USE]
    for number, change in enumerate(({"keys": "k1 k3"}, {"out": "/runs/two"}), 1):
        assert ledger.record(replace(USE, **change), tmp_path) == ledger.Seen(number)
    assert ledger.record(USE, tmp_path) == ledger.Seen(0), "the first is still the first"


def test_other_images_are_no_earlier_use(tmp_path: Path) -> None:
    ledger.record(USE, tmp_path)
    assert ledger.record(replace(USE, data="e" * 16), tmp_path).earlier == 0
    named = replace(USE, split="val 0.15, test 0.15, seed 1")
    assert ledger.record(named, tmp_path).earlier == 1, "the same images, whatever the split's name"
    assert len(ledger.read(tmp_path / ledger.FILE)) == 3


def test_the_columns(tmp_path: Path) -> None:
    odd = replace(USE, out='/runs/a,"b"\n\udcff')
    ledger.record(odd, tmp_path)
    with (tmp_path / "test_looks.csv").open(errors="surrogateescape", newline="") as file:
        (row,) = csv.DictReader(file)
    assert [*row] == ["time", "space", "data", "split", "chains", "out", "keys"]
    assert row["out"] == odd.out


def test_many_at_once_lose_none(tmp_path: Path) -> None:
    uses = [replace(USE, out=f"/runs/{number}") for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        seen = list(pool.map(lambda use: ledger.record(use, tmp_path), uses))
    assert sorted(one.earlier for one in seen) == [*range(12)]


@pytest.mark.parametrize("content", ["a,b\n1,2\n", None])
def test_what_cannot_be_recorded_is_said(tmp_path: Path, content: str | None) -> None:
    if content is None:
        (tmp_path / ledger.FILE).mkdir()
    else:
        (tmp_path / ledger.FILE).write_text(content)
    assert ledger.record(USE, tmp_path).unrecorded


def test_the_same_images_at_another_size_are_an_earlier_look(
    search: Search, tmp_path: Path
) -> None:
    rows = search.table.scored[:1]
    first = ledger.use(search.plan, rows, search.store, tmp_path / "one")
    ledger.record(first, tmp_path)
    other = replace(search.plan, data_digest="of another cache_size")
    again = ledger.use(other, rows, search.store, tmp_path / "two")
    assert ledger.record(again, tmp_path) == ledger.Seen(1)
    key = rows[0].downstream_key
    assert first.data == images(search.store, key, "test") != images(search.store, key, "val")
