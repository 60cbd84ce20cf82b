"""External test sets in the report: paired by image and by seed, chosen by nothing."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.chains.chain import Chain
from search.report import external
from search.results.records import ExternalScore
from tests.measures import BALANCED, scored

CLASSES = ["a", "b"]
LIFT = {
    "odc>moco": (0.80, 0.84, 0.82),
    "scratch": (0.60, 0.64, 0.62),
    "imagenet": (0.79, 0.85, 0.82),
}


def write(store, key, recall, seed, n=800):
    """Predictions with that accuracy in both classes; what is hard is the same for all."""
    rng = np.random.default_rng(5)
    labels, hard = np.arange(n) % 2, rng.random(n) + 0.3 * np.random.default_rng(seed).random(n)
    right = np.zeros(n, bool)
    for k in (0, 1):
        own = np.flatnonzero(labels == k)
        right[own[np.argsort(hard[own])[: round(recall * len(own))]]] = True
    told = np.where(right, labels, 1 - labels)
    folder = store.path(key)
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"image": [str(i) for i in range(n)], "group": [f"g{i // 2}" for i in range(n)]}
    columns |= {"label": labels, "p0": 1.0 - told, "p1": told.astype(float)}
    pq.write_table(pa.table(columns), folder / "test.parquet")
    (folder / "meta.json").write_text(json.dumps({"classes": CLASSES}))


@pytest.fixture
def judged(search):
    """Two sets: `other` with three seeds of three rows, `once` with one seed."""
    found = []
    for chain, recalls in LIFT.items():
        for seed, recall in enumerate(recalls):
            for name in ("other", *(["once"] if seed == 0 else [])):
                key = f"{name}-{chain.replace('>', '+')}-{seed}"
                write(search.store, key, recall, 10 * seed + len(chain))
                found.append(ExternalScore(Chain.parse(chain), name, seed, scored(1.0, 0, 2), key))
    return tuple(found)


def test_means_over_seeds_and_paired_differences(search, judged):
    other, once = external.judged(judged, search.table, "odc>moco", search.store)
    assert (other.name, once.name) == ("other", "once")
    assert (other.on.images, other.on.groups) == (800, 400)
    rows = {row.chain: row for row in other.rows}
    assert {chain: row.score.value for chain, row in rows.items()} == pytest.approx(
        {chain: 100 * np.mean(recalls) for chain, recalls in LIFT.items()}
    )
    assert other.rows[-1].chain == "scratch"
    ahead = rows["scratch"].ahead
    assert ahead.value == pytest.approx(20.0)
    assert 0 < ahead.low < 20 < ahead.high
    level = rows["imagenet"].ahead
    assert level.low < level.value < level.high
    assert level.low < 0 < level.high
    assert rows["odc>moco"].ahead is None
    assert {row.seeds for row in other.rows} == {3}


def test_with_one_seed_nothing_is_compared(search, judged):
    _, once = external.judged(judged, search.table, "odc>moco", search.store)
    assert [row.ahead for row in once.rows] == [None] * 3
    assert all(row.score.low < row.score.value < row.score.high for row in once.rows)


def test_the_file_and_the_report(make_search, judged, search, tmp_path):
    sets = external.judged(judged, search.table, "scratch", search.store)
    external.write_csv(sets, BALANCED, tmp_path / "external.csv")
    rows = list(csv.DictReader((tmp_path / "external.csv").open()))
    assert len(rows) == 6
    one = next(row for row in rows if (row["set"], row["chain"]) == ("other", "odc>moco"))
    assert (one[BALANCED.name], one["recommended_better_by"]) == ("82.00", "-20.00")
    assert (one["seeds"], one["images"], one["patient_groups"]) == ("3", "800", "400")
    whole = make_search(external=judged)
    for score in judged:
        seed = 10 * score.seed + len(str(score.chain))
        write(whole.store, score.downstream_key, LIFT[str(score.chain)][score.seed], seed)
    summary = whole.write(tmp_path / "run")
    assert [one["name"] for one in summary["external"]] == ["other", "once"]
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "other: 800 images of 400 patient groups" in page
    assert (tmp_path / "run" / "report" / "external.csv").exists()
