"""The one table, on the published ISIC-2019 results."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search import report
from search.report import printed_table, rows, stored
from search.report import table as tables
from search.report.table import Table
from tests.measures import BALANCED
from trainables.downstream.measures import MEASURES

LABELS = {
    "relative_location>odc": "AC", "relative_location>odc>moco": "MC",
    "relative_location>moco": "C", "relative_location>moco>odc": "MC", "moco>odc": "AC",
    "moco>odc>relative_location": "MC", "moco>relative_location": "AC",
    "moco>relative_location>odc": "AC", "odc>relative_location": "C",
    "odc>relative_location>moco": "C", "odc>moco": "C", "odc>moco>relative_location": "MC",
    "moco": "", "odc": "", "relative_location": "", "scratch": "baseline", "imagenet": "baseline",
}  # fmt: skip
ABOVE_IMAGENET = {
    "odc>moco", "relative_location>odc>moco", "relative_location>moco>odc",
    "relative_location>moco",
}  # fmt: skip
COLUMNS = [
    "chain", "length", "label", "balanced_accuracy", "ci_low", "ci_high", "delta", "above_scratch",
    "above_imagenet", "linear", "knn", "lrs", "downstream_lr", "status", "reason", "train_seconds",
    "stage_key", "downstream_key", "difference", "difference_low", "difference_high",
    "could_be_best", "order", "stage_seconds", "pretext_accuracy", "pretext_chance", "seed_scores",
    "repeat_keys", "control", "seeds", "fresh_score", "fresh_low", "fresh_high", "fresh_seeds",
    "fresh_scores", "fresh_keys", "fresh_stage_keys", "linear_low", "linear_high", "knn_low",
    "knn_high", "recommended", "above_start", "frozen", "stage_steps", "mark",
]  # fmt: skip
FIRST_COLUMNS = COLUMNS[:7]


@pytest.fixture(scope="module")
def table(search: Any) -> Table:
    return rows.build(search.results, search.store, BALANCED)


@pytest.fixture(scope="module")
def partial(search: Any) -> Table:
    """Some chains pruned, one failed, no ImageNet weights."""
    search = search.without("pruned", "its accuracies fall", "moco>odc", "moco>relative_location")
    search = search.without("failed", "loss is NaN", "odc>moco>relative_location")
    search = search.without("not run", "no weights", "imagenet")
    return report.build(search.results, search.store, BALANCED)


def _read(table: Table, folder: Path) -> list[dict[str, str]]:
    table.write_csv(folder / "chains.csv")
    with (folder / "chains.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_labels_are_the_published_ones(table: Table) -> None:
    assert {row.chain: row.label for row in table.rows} == LABELS


def test_flags_are_the_published_ones(table: Table) -> None:
    assert {row.chain for row in table.rows if row.above_imagenet} == ABOVE_IMAGENET
    assert all(row.above_scratch for row in table.rows if row.chain != "scratch")
    scratch, imagenet = table.row("scratch"), table.row("imagenet")
    assert scratch is not None
    assert imagenet is not None
    assert (scratch.above_scratch, scratch.above_imagenet) == (None, False)
    assert imagenet.above_imagenet is None


def test_delta_is_to_the_first_task_alone(table: Table) -> None:
    deltas = {row.chain: row.delta for row in table.rows}
    assert deltas["odc>moco"] == pytest.approx(11.92)
    assert deltas["moco>relative_location>odc"] == pytest.approx(-2.94)
    assert deltas["moco"] is None
    assert deltas["imagenet"] is None


def test_best_first_with_baselines_in_place(table: Table) -> None:
    scores = [row.score or 0 for row in table.rows]
    assert scores == sorted(scores, reverse=True)
    assert table.best is not None
    assert table.best.chain == "odc>moco"
    assert [row.chain for row in table.rows].index("imagenet") == 4


def test_rates_edges_and_cost(table: Table) -> None:
    best = table.best
    assert best is not None
    assert (best.lrs, best.downstream_lr) == ("odc 0.03, moco 0.1*", "0.01")
    assert best.train_seconds == 100 + 100 + 50
    scratch = table.row("scratch")
    assert scratch is not None
    assert (scratch.lrs, scratch.train_seconds) == ("", 50)


def test_a_control_counts_a_task_as_often_as_it_was_trained(search: Any) -> None:
    made = search.controlled("moco>moco", (70.0,))
    longer = rows.build(made.results, made.store, BALANCED).row("moco>moco")
    assert longer is not None
    assert (longer.stage_seconds, longer.train_seconds) == (100 + 100, 100 + 100 + 50)
    assert [rate.split()[0] for rate in longer.lrs.split(", ")] == ["moco", "moco"]


def test_an_edge_inside_the_range_of_its_task_is_no_edge(search: Any) -> None:
    """A stage tries a window of what others tried."""
    narrow = {"lr": 0.03, "lr_at_edge": True}
    assert rows._rate(narrow, [0.01, 0.03, 0.1]) == "0.03"
    assert rows._rate(narrow, [0.01, 0.03]) == "0.03*"
    assert rows._rate(narrow) == "0.03*"
    odc = next(result for result in search.results if str(result.chain) == "odc")
    assert stored.lr_policy(search.store, odc.stage_key)["range"] == [0.003, 0.01, 0.03, 0.1]


def test_pruned_last_and_no_number_without_a_run(partial: Table, tmp_path: Path) -> None:
    assert [row.status for row in partial.rows[-4:]] == ["not run", "failed", "pruned", "pruned"]
    imagenet = next(row for row in _read(partial, tmp_path) if row["chain"] == "imagenet")
    said = {key: value for key, value in imagenet.items() if value}
    assert said.pop("downstream_key").startswith("classify-")
    assert [said.pop(key) for key in ("control", "recommended", "frozen")] == ["no"] * 3
    assert said == {
        "chain": "imagenet", "length": "0", "label": "baseline", "status": "not run",
        "reason": "no weights",
    }  # fmt: skip
    assert all(row.above_imagenet is None for row in partial.rows)


def test_csv(table: Table, tmp_path: Path) -> None:
    rows = _read(table, tmp_path)
    assert list(rows[0]) == COLUMNS
    first = [rows[0][column] for column in FIRST_COLUMNS]
    assert first == ["odc>moco", "2", "C", "75.44", "73.54", "77.24", "11.92"]
    assert (rows[0]["above_scratch"], rows[0]["above_imagenet"]) == ("yes", "yes")
    assert (rows[-1]["chain"], rows[-1]["above_imagenet"]) == ("scratch", "no")


def test_csv_of_the_comparison(judged: Any, tmp_path: Path) -> None:
    rows = {row["chain"]: row for row in _read(judged.table, tmp_path)}
    best = rows["relative_location>odc>moco"]
    assert (best["difference"], best["could_be_best"], best["recommended"]) == (
        "0.00",
        "yes",
        "yes",
    )
    assert best["fresh_scores"] == "74.90 74.20 75.10"
    assert [c for c, row in rows.items() if row["recommended"] == "yes"] == [best["chain"]]
    assert rows["scratch"]["could_be_best"] == "no"


def test_probes_have_their_intervals(judged: Any, tmp_path: Path) -> None:
    rows = {row["chain"]: row for row in _read(judged.table, tmp_path)}
    for name in ("linear", "knn"):
        for row in (rows["odc"], rows["odc>moco"]):
            low, value, high = (float(row[f"{name}{end}"]) for end in ("_low", "", "_high"))
            assert (value - low, high - value) == pytest.approx((1.0, 1.0), abs=0.011)


@pytest.mark.parametrize(
    ("p_value", "text"),
    [(None, "–"), (0.0002, "<0.001"), (0.034, "0.034"), (0.04999, "0.049"), (0.05, "0.050")],
)
def test_a_p_value_is_never_rounded_across_the_line(p_value: float | None, text: str) -> None:
    assert tables.p_text(p_value) == text


def test_no_label_before_the_singles_are_known(search: Any) -> None:
    small = search.only("odc>moco", "odc")
    row = rows.build(small.results, small.store, BALANCED).row("odc>moco")
    assert row is not None
    assert row.label == ""
    assert row.delta == pytest.approx(11.92)


def test_a_baseline_never_wins(search: Any) -> None:
    small = search.only("imagenet", "odc")
    best = rows.build(small.results, small.store, BALANCED).best
    assert best is not None
    assert best.chain == "odc"
    nothing = search.only("imagenet", "scratch")
    assert rows.build(nothing.results, nothing.store, BALANCED).best is None


def test_the_highest_of_each_length_is_marked(table: Table) -> None:
    marks = {row.chain: mark for row in table.rows if (mark := table.mark(row))}
    assert marks == {
        "odc>moco": "top", "relative_location>odc>moco": "top of 3", "moco": "top of 1",
    }  # fmt: skip


def test_measures_stand_beside_the_objective(led: Any, tmp_path: Path) -> None:
    """A measure that no row has is no column; one that some rows lack is empty there."""
    accuracy, auroc = MEASURES["accuracy"], MEASURES["macro_auroc"]
    results = [
        replace(r, score=replace(r.score, measures={**r.score.measures, **more}))
        for r in led.results
        for more in ({"accuracy": accuracy.measure(61.5, 60, 63)} if r.chain.tasks else {},)
    ]
    wanted = (BALANCED, accuracy, auroc)
    once = [replace(result, repeats=(), fresh=()) for result in results]
    table = report.build(once, led.store, BALANCED, "odc>moco", wanted)
    assert table.beside == (accuracy,)
    rows = {row["chain"]: row["accuracy"] for row in _read(table, tmp_path)}
    assert (rows["odc>moco"], rows["scratch"]) == ("61.50", "")
    out = io.StringIO()
    Console(file=out, width=80).print(printed_table.further(replace(led.summary, table=table)))
    assert "odc>moco 31.20 61.50" in " ".join(out.getvalue().split())
    assert printed_table.further(led.summary) is None


def test_terminal_fits_80_columns(judged: Any) -> None:
    partial = judged.without("pruned", "its accuracies fall", "moco>odc")
    partial = partial.without("failed", "loss is NaN", "odc>moco>relative_location")
    partial = partial.controlled("moco>moco", (72.9, 72.4, 73.1))
    out, found = io.StringIO(), partial.summary
    Console(file=out, width=80).print(printed_table.render(found))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    best = next(line for line in lines if line.startswith("relative_location>odc>moco "))
    assert best.split()[-2:] == ["74.73", "yes"]
    text = " ".join(out.getvalue().split())
    assert "odc>moco>relative_location: failed, loss is NaN" in text
    assert "control: moco twice in a row (" in text
    assert "1 chain pruned, never trained" in text
    assert "its accuracies fall" not in text
    lead = [*printed_table.lead(found)]
    assert lead[0] == "relative_location>odc>moco was better than imagenet on test."
    assert lead[1].startswith("Yes: relative_location>odc>moco, pretrained on these images, is ")
    assert lead[2].startswith("relative_location>odc>moco is recommended")
    assert lead[3].startswith("The planned comparison")


def test_csv_of_a_repeated_chain(repeated: Any, tmp_path: Path) -> None:
    rows = {row["chain"]: row for row in _read(repeated.table, tmp_path)}
    assert rows["odc>moco"]["seed_scores"] == "75.44 73.00 73.60"
    assert rows["odc>moco"]["repeat_keys"].count("classify-") == 2
    assert rows["odc"]["seed_scores"] == "63.52"
