"""The report of a search whose images may have several labels."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from search.console.understood import Understood
from search.report import sources, stored
from search.report.page.images import thumbnails
from tests.search.report.made_rows import Judged
from trainables.data import Table
from trainables.downstream.measures import MANY
from trainables.images.cache import Prepared
from trainables.spec import Measure, Score

LABELS = ["Edema", "Effusion", "Mass"]
SCORES = {"moco": 80.0, "odc": 70.0, "odc>moco": 90.0, "scratch": 60.0, "imagenet": 75.0}


def _predict(path, strength):
    """600 images of 300 patients; the stronger, the better Edema and Effusion are told."""
    rng = np.random.default_rng(0)
    truth = (rng.random((600, 3)) < [0.4, 0.2, 0.05]).astype(int)
    said = 1 / (1 + np.exp(1 - strength * truth - rng.normal(size=(600, 3))))
    said[:, 2] *= 0.4  # no Mass is recognised
    truth[rng.random((600, 3)) < 0.1] = -1
    columns = {"image": [f"i{i}" for i in range(600)]}
    columns |= {"group": [f"p{i // 2}" for i in range(600)]}
    columns |= {f"y{k}": truth[:, k] for k in range(3)}
    columns |= {"source": ["AB"[i // 2 % 2] for i in range(600)]}
    columns |= {f"p{k}": said[:, k] for k in range(3)}
    pq.write_table(pa.table(columns), path)
    known = [truth[:, k] >= 0 for k in range(3)]
    return np.mean([roc_auc_score(truth[m, k], said[m, k]) for k, m in enumerate(known)])


@pytest.fixture(scope="module")
def many(make_search):
    """A small search with real predictions; the objective is macro AUROC."""
    made = make_search(classes=LABELS, scores=SCORES)
    space = made.plan.space
    data = replace(space.data, name="table", params={"labels": "many"})
    downstream = replace(space.downstream, objective="macro_auroc")
    results = []
    for result in made.results:
        name = str(result.chain)
        folder = made.store.path(result.downstream_key)
        value = 100 * _predict(folder / "val.parquet", SCORES[name] / 30)
        _predict(folder / "test.parquet", SCORES[name] / 30)
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps(meta | {"labels": "many"}))
        measures = {
            "macro_auroc": Measure(value, value - 2, value + 2, "%", True),
            "auroc/Edema": Measure(value, value - 3, value + 3, "%", True),
        }
        results.append(replace(result, score=Score("macro_auroc", measures)))
    plan = Judged(replace(space, data=data, downstream=downstream), MANY["macro_auroc"], made.plan)
    return replace(made, plan=plan, results=results)


def test_predictions_are_read_as_written(many):
    row = many.table.row("odc>moco")
    shown = stored.predictions(many.store, row.downstream_key, "val")
    written = pq.read_table(many.store.path(row.downstream_key) / "val.parquet").to_pydict()
    assert shown.many
    assert np.array_equal(shown.labels, np.stack([written[f"y{k}"] for k in range(3)], 1))
    assert np.array_equal(shown.probabilities[:, 1], written["p1"])
    assert shown.rarest == (shown.labels[:, 2] == 1).sum()
    known = shown.labels[:, 0] == 1
    assert np.array_equal(shown.having(0), known)
    with pytest.raises(AssertionError):
        _ = shown.predicted


def test_the_table_is_resampled_by_patient_on_macro_auroc(many):
    table = many.table
    row = table.best
    assert row.chain == "odc>moco"
    assert table.compared_on.images == 600
    assert table.compared_on.groups == 300
    assert row.ci_low < row.score < row.ci_high


def test_the_whole_report_is_written_without_confusions(many, tmp_path):
    summary = many.write(tmp_path)
    report = tmp_path / "report"
    header, first = (report / "chains.csv").read_text().splitlines()[:2]
    assert header.split(",")[3] == "macro_auroc"
    assert first.startswith("odc>moco,")
    assert not (report / "confusion.png").exists()
    recall = {one["class"]: one for one in summary["recall"]}
    shown = stored.predictions(
        many.store, many.table.row(summary["recommended"]).downstream_key, "val"
    )
    for k, label in enumerate(LABELS):
        own = shown.labels[:, k] == 1
        assert recall[label]["images"] == own.sum()
        assert recall[label]["recall"] == pytest.approx(
            100 * (shown.probabilities[own, k] >= 0.5).mean()
        )
    assert any("recognised no image of Mass" in note for note in summary["notes"])
    page = (report / "index.html").read_text()
    assert "What the recommended confuses" not in page
    assert "macro AUROC, %, of the frozen network" in page
    assert "auroc, %, Edema" in page
    assert summary["sources"]["given_away"] is None
    assert "is not judged where an image may have several labels" in page


def test_each_source_has_the_macro_auroc_of_its_own_images(many):
    table = many.table
    found = sources.build(table, ["odc>moco"], many.store)
    shown = stored.predictions(many.store, table.row("odc>moco").downstream_key, "val")
    for one in found.within:
        here = shown.sources == one.source
        truth, said = shown.labels[here], shown.probabilities[here]
        known = [truth[:, k] >= 0 for k in range(3)]
        expected = np.mean([roc_auc_score(truth[m, k], said[m, k]) for k, m in enumerate(known)])
        assert one.scores["odc>moco"].value == pytest.approx(100 * expected)


def test_the_card_says_that_an_image_may_have_several(many, tmp_path):
    many.write(tmp_path, pictures=False)
    card = (tmp_path / "best" / "model_card.md").read_text()
    assert "`Edema`, `Effusion`, `Mass` (an image may have several)" in card
    assert "macro AUROC" in card


def test_the_dry_run_shows_and_counts_an_image_under_each_of_its_labels():
    labels = np.array([[1, 0], [1, 1], [0, -1], [0, 1]])
    names = ("a", "b", "c", "d")
    table = Table(names, labels, names, ("A", "B"))
    split = {"train": np.array([0, 1, 2]), "val": np.array([3]), "test": np.array([], int)}
    found = Understood(None, table, split, "")
    assert found.parts == {
        "A": {"train": 2, "val": 0, "test": 0}, "B": {"train": 1, "val": 1, "test": 0},
    }  # fmt: skip
    data = Prepared(
        names, labels, names, ("A", "B"), images=np.zeros((4, 8, 8, 1), np.uint8), split=split,
        duplicates=(), merged=False, mean=(0.5,), std=(0.5,), digest="", name="x", demo=False,
    )  # fmt: skip
    shown = {label: [one.name for one in some] for label, some in thumbnails(data)}
    assert shown == {"A": ["a", "b"], "B": ["b"]}
