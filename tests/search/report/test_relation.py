"""Attention and the score: rank correlations by hand, within sources, elsewhere, drawn."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from search import report
from search.chains.chain import Chain
from search.report import relation, stored
from search.report.figures import relation as figure
from search.report.relation import Relation, relations, sentence
from search.report.statistics.inference import Effect
from search.results.records import ExternalScore
from tests.measures import scored
from trainables.spec import Measure

SCORES = {
    "scratch": 35.0, "moco": 44.0, "odc": 43.0, "swav": 45.0, "odc>moco": 47.0, "moco>odc": 41.0,
    "swav>moco": 50.0,
}  # fmt: skip
AIL = dict(zip(SCORES, (30.0, 36.0, 41.0, 38.0, 44.0, 33.0, 46.0), strict=True))


@pytest.fixture(scope="module")
def looked(make_search: Any) -> Any:
    """A small search whose rows have attention, one apart."""
    found = make_search(scores=SCORES, best_chain="odc>moco")
    results = []
    for result in found.results:
        ail = AIL[str(result.chain)]
        more = {"ail": Measure(ail, ail - 3, ail + 3, "%", True)}
        measures = {**result.score.measures, **more, "region_area": Measure(33, 32, 34, "%", True)}
        results.append(replace(result, score=replace(result.score, measures=measures)))
    return replace(found, results=results)


def elsewhere(scores: dict[str, float]) -> list[ExternalScore]:
    return [
        ExternalScore(Chain.parse(name), "other", 0, scored(one, one, one), name)
        for name, one in scores.items()
    ]


def test_on_validation_it_is_the_rank_correlation_over_chains_and_starts(looked: Any) -> None:
    (found,) = relations(looked.table, [], looked.store)
    assert (found.on, found.robust, found.rows) == ("validation", False, 7)
    assert found.images == 0, "no maps are stored"
    assert found.effect
    oracle = spearmanr([*AIL.values()], [*SCORES.values()]).statistic
    assert found.effect.value == pytest.approx(oracle)
    assert found.effect.low < oracle < found.effect.high


def test_images_from_elsewhere_have_a_relation_of_their_own(looked: Any) -> None:
    fallen = {name: 100 - one for name, one in AIL.items()}
    _, other = relations(looked.table, elsewhere(fallen), looked.store)
    assert (other.on, other.robust) == ("the external test set other", True)
    assert other.effect
    assert other.effect.value == pytest.approx(-1)
    assert "chains of higher AIL are worse, so they are less robust" in sentence(other)
    few = dict([*fallen.items()][:3])
    assert "3 chains and starts, too few" in sentence(
        relations(looked.table, elsewhere(few), looked.store)[1]
    )


def test_every_number_behind_a_correlation_is_in_a_table(looked: Any, tmp_path: Path) -> None:
    some = {"moco": 30.0, "odc": 20.25}
    relation.write_csv(
        relations(looked.table, elsewhere(some), looked.store), looked.table, tmp_path / "a.csv"
    )
    rows = [*csv.DictReader((tmp_path / "a.csv").open())]
    assert {row["chain"]: float(row["ail"]) for row in rows} == AIL
    assert {row["chain"]: float(row["score on validation"]) for row in rows} == SCORES
    there = {row["chain"]: row["score on the external test set other"] for row in rows}
    assert there == dict.fromkeys(SCORES, "") | {"moco": "30.00", "odc": "20.25"}
    (moco,) = (row for row in rows if row["chain"] == "moco")
    assert (moco["ail_low"], moco["ail_high"], moco["region_area"]) == ("33.00", "39.00", "33.00")


def test_nothing_is_robust_where_no_chain_scores_more_than_guessing(looked: Any) -> None:
    lost = {name: one / 4 for name, one in AIL.items()}  # up to 11.5; one of eight guessed: 12.5
    _, other = relations(looked.table, elsewhere(lost), looked.store)
    assert other.no_better_than == 12.5
    assert other.effect
    assert other.effect.value == pytest.approx(1)
    assert sentence(other).startswith(
        "On the external test set other, chains of higher AIL are better (Spearman +1.00"
    )
    assert sentence(other).endswith(
        "but none scores more than guessing (12.5 %), so that tells nothing of robustness."
    )
    _, best = relations(looked.table, elsewhere({**lost, "odc": 13}), looked.store)
    assert best.no_better_than is None


def test_within_sources_each_counts_once_and_one_of_one_class_not_at_all(looked: Any) -> None:
    row = looked.table.row("moco")
    said = stored.predictions(looked.store, row.downstream_key, "val")
    assert said is not None
    names = ["A" if label == 0 else "BC"[k % 2] for k, label in enumerate(said.labels)]
    for one in looked.table.scored:
        path = looked.store.path(one.downstream_key) / "val.parquet"
        pq.write_table(pq.read_table(path).append_column("source", pa.array(names)), path)
    said = stored.predictions(looked.store, row.downstream_key, "val")
    assert said is not None
    assert len([*relation._by_source(said, "balanced_accuracy")]) == 2, "A has one class"
    accuracy = [*relation._by_source(said, "accuracy")]
    right = said.predicted == said.labels
    assert accuracy == pytest.approx([100 * right[said.sources == one].mean() for one in "BC"])
    _, within = relations(looked.table, [], looked.store)
    assert (within.on, within.rows) == ("validation, within each source", 7)


def test_without_attention_nothing_is_said_or_drawn(search: Any) -> None:
    assert relations(search.table, [], search.store) == ()
    assert figure.draw(search.table) is None


def test_what_chance_can_explain_is_not_a_finding() -> None:
    found = Relation("validation", False, 9, Effect(0.4, 0.3, -0.3, 0.8), {}, 138)
    assert sentence(found) == (
        "On validation, the score does not detectably go with AIL "
        "(Spearman +0.40 (-0.30 to +0.80), p 0.300, 9 chains and starts)."
    )
    few = sentence(replace(found, images=8))
    assert few.endswith("9 chains and starts; AIL is of 8 images only, so this may be luck).")


def test_both_figures_show_every_row_once(looked: Any, tmp_path: Any) -> None:
    drawn = figure.draw(looked.table)
    assert drawn is not None
    against, by_task = drawn.axes
    assert len(against.containers) == len(SCORES)
    places = {text.get_text() for text in by_task.get_yticklabels()}
    assert places == {"start", "moco", "odc", "swav"}
    dots = [line for line in by_task.lines if line.get_marker() != "None"]
    assert sorted(line.get_xdata()[0] for line in dots) == sorted(AIL.values())
    info = replace(looked.info, elsewhere=tuple(elsewhere(SCORES)))
    found = report.write(looked.table, looked.plan, info, looked.store, tmp_path)
    report.illustrate(found, looked.plan, looked.store, tmp_path)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Attention and the score" in page
    assert (tmp_path / "report" / "attention.csv").exists()
    assert "On the external test set other, chains of higher AIL are better" in page
    assert [one["on"] for one in found.as_json()["attention_and_score"]][-1].endswith("other")


def test_a_label_is_a_colour() -> None:
    labels = ["C", "AC", "MC", "", "baseline"]
    rows = [SimpleNamespace(label=one, is_baseline=one == "baseline") for one in labels]
    found = [figure._label(row) for row in rows]  # type: ignore[arg-type]
    assert found == ["C", "AC", "MC", "single", "start"]
    assert len({figure.MARKS[one] for one in found}) == 5
