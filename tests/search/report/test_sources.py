"""Sources: the score within each, and how well the source alone tells the class."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.report import sources
from search.report.sources import given_away

RNG = np.random.default_rng(0)


def _column(search, key, split, values):
    path = search.store.path(key) / f"{split}.parquet"
    table = pq.read_table(path)
    if "source" in table.column_names:
        table = table.drop_columns(["source"])
    pq.write_table(table.append_column("source", pa.array(values)), path)


@pytest.fixture(scope="module")
def sourced(make_search):
    """The published search, whose validation images with odd lesions are of the hospital B."""
    search = make_search()
    for chain in ("odc>moco", "scratch", "imagenet"):
        key = search.table.row(chain).downstream_key
        groups = pq.read_table(search.store.path(key) / "val.parquet")["group"].to_pylist()
        _column(search, key, "val", ["AB"[int(g.removeprefix("lesion")) % 3 == 0] for g in groups])
    return search


def test_a_source_that_is_the_class_gives_it_away_wholly():
    labels = np.arange(300) % 3
    groups = np.array([f"p{i // 6}" for i in range(300)])
    found = given_away(labels, np.array(list("xyz"))[labels], groups)
    assert (found.value, found.low, found.high) == (100.0, 100.0, 100.0)


def test_half_of_a_class_can_be_told():
    """x is always class 0; y is half of class 0 and all of class 1: recall 50 and 100 %."""
    labels = np.array([0, 0, 1, 1] * 50)
    sources_ = np.array(["x", "y", "y", "y"] * 50)
    found = given_away(labels, sources_, np.arange(200).astype(str))
    assert found.value == pytest.approx(75.0)
    assert found.low < 75.0 < found.high


def test_a_source_that_only_marks_patients_gives_nothing_away():
    """Every patient has a source and a class of their own: the guess is of other patients."""
    patient = np.repeat(np.arange(60), 5)
    labels = RNG.permutation(np.arange(60) % 2)[patient]
    found = given_away(labels, patient.astype(str), patient.astype(str))
    assert found.value < 65


def test_a_source_apart_from_the_class_is_near_the_chance_level():
    labels, drawn = RNG.integers(0, 4, 4000), RNG.integers(0, 3, 4000).astype(str)
    found = given_away(labels, drawn, np.arange(4000).astype(str))
    assert 22 < found.value < 28


def test_each_source_has_the_scores_of_its_own_images(sourced):
    table = sourced.table
    found = sources.build(table, ["odc>moco", "scratch"], sourced.store)
    assert [one.source for one in found.within] == ["A", "B"]
    assert sum(one.on.images for one in found.within) == 2400
    key = table.row("odc>moco").downstream_key
    shown = sources.stored.predictions(sourced.store, key, "val")
    for one in found.within:
        here = shown.sources == one.source
        right = (shown.predicted == shown.labels)[here]
        recall = [right[shown.labels[here] == k].mean() for k in range(len(shown.classes))]
        own = one.scores["odc>moco"]
        assert own.value == pytest.approx(100 * np.mean(recall))
        assert own.low < own.value < own.high
        assert own.value > one.scores["scratch"].value
    assert not found.far
    assert (found.alone, sources.warning(found), sources.warning(None)) == ((), (), ())
    assert found.chance_level == 12.5
    assert "So it gives little away." in sources.sentence(found)


def test_a_source_far_above_the_chance_level_is_a_warning(sourced):
    table = sourced.table
    key = table.row("odc>moco").downstream_key
    labels = pq.read_table(sourced.store.path(key) / "val.parquet")["label"].to_numpy()
    before = pq.read_table(sourced.store.path(key) / "val.parquet")["source"].to_pylist()
    _column(sourced, key, "val", ["A" if label else "B" for label in labels])
    found = sources.build(table, ["odc>moco"], sourced.store)
    _column(sourced, key, "val", before)
    assert found.far
    assert found.given_away.value == pytest.approx(25.0)  # one class of eight is told wholly
    assert "recognising the hospital or camera instead of the disease" in sources.sentence(found)
    assert sources.sentence(found).startswith(
        "All validation images of NV, BCC, AK, BKL, DF, VASC, SCC come from A. "
        "All validation images of MEL come from B. The source alone"
    )
    assert sources.warning(found) == (sources.sentence(found),)


def test_without_sources_nothing_is_said(search):
    assert sources.build(search.table, ["odc>moco", "scratch"], search.store) is None


def test_the_summary_and_the_page_tell_it(sourced, tmp_path):
    summary = sourced.write(tmp_path)
    told = summary["sources"]
    assert {one["source"] for one in told["within"]} == {"A", "B"}
    assert set(told["within"][0]["scores"]) == {"imagenet", "odc>moco"}  # and the best chain
    assert told["far"] is False
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Within each source" in page
    assert "where guessing has 12.5" in page


def test_an_interval_of_few_images_ends_at_100_percent(sourced):
    estimate = sources.Estimate(96.0, 88.0, 101.5)
    assert sources._bounded(estimate, sourced.table) == sources.Estimate(96.0, 88.0, 100.0)
