"""Near-duplicates in the report: counts, the sentence, the file, the page."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from search.report.duplicates import FILE, count, sentence, write
from search.results.records import Duplicates
from trainables.images.duplicates import Pair


@pytest.fixture
def data():
    """Two pairs over five images, one of them across the split."""
    return SimpleNamespace(
        names=("a", "b, or c", "d", "e", "f"),
        split={"train": np.array([0, 1]), "val": np.array([2, 3]), "test": np.array([4])},
        duplicates=(Pair(0, 1, "g0", "g1", 3), Pair(1, 4, "g1", "g4", 0)),
        merged=False,
    )


def test_pairs_are_counted_and_listed_by_name(data, tmp_path):
    assert count(data) == Duplicates(2, 1, merged=False)
    write(data, tmp_path / "report")
    with (tmp_path / "report" / FILE).open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["image_a", "image_b", "group_a", "group_b", "split_a", "split_b", "distance"],
        ["a", "b, or c", "g0", "g1", "train", "train", "3"],
        ["b, or c", "f", "g1", "g4", "train", "test", "0"],
    ]


def test_the_sentence():
    assert sentence(Duplicates()) == "no near-duplicate pairs across patient groups"
    said = sentence(Duplicates(12, 4))
    assert said.startswith(
        "12 near-duplicate pairs across patient groups (4 cross a split), listed in"
    )
    assert said.endswith("merge their groups with data.merge_duplicates=true")
    assert "1 near-duplicate pair across patient groups (0 cross" in sentence(Duplicates(1, 0))
    merged = sentence(Duplicates(12, 0, merged=True))
    assert "groups were merged" in merged
    assert "merge_duplicates" not in merged


def test_in_the_summary_and_on_the_page(make_search, tmp_path):
    search = make_search(near_duplicates=Duplicates(12, 4))
    summary = search.write(tmp_path)
    assert summary["near_duplicates"] == {"pairs": 12, "across_splits": 4, "merged": False}
    assert sentence(Duplicates(12, 4)) in (tmp_path / "report" / "index.html").read_text()
