"""Figures: their content, not their style."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from search.report import learning, rows, stored, summary
from search.report.figures import curves, forest, regret, tree
from search.report.figures import draw as figures
from search.report.figures import learning as figures_learning
from search.report.statistics.course import course
from search.report.table import Row, Table
from tests.measures import BALANCED


def _texts(figure: Any) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_confusion_counts_are_sklearns(search: Any) -> None:
    best = rows.build(search.results, search.store, BALANCED).best
    assert best is not None
    shown = stored.predictions(search.store, best.downstream_key, "val")
    assert shown is not None
    counts = confusion_matrix(shown.labels, shown.predicted)
    shares = counts / counts.sum(1, keepdims=True)
    drawn = curves.confusions(shown).axes[0]
    assert np.allclose(drawn.images[0].get_array(), shares)
    cells = {
        (int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in drawn.texts
    }
    for row, column in np.argwhere(counts):
        expected = f"{100 * shares[row, column]:.0f} %\n{counts[row, column]}"
        assert cells.pop((row, column)) == expected
    assert not cells, "only pairs that occur are written"


def test_tree_has_every_chain_once_and_its_score(search: Any) -> None:
    texts = _texts(tree.draw(rows.build(search.results, search.store, BALANCED)))
    boxes = [text for text in texts if "\n" in text]
    assert len(boxes) == 15 + 2
    assert "moco\n75.44" in boxes
    assert "ImageNet\n73.76" in boxes


def test_tree_says_pruned_and_not_run(search: Any) -> None:
    partial = search.without("pruned", "falls", "moco>odc").without("not run", "", "imagenet")
    texts = _texts(tree.draw(rows.build(partial.results, partial.store, BALANCED)))
    assert "odc\npruned" in texts
    assert "ImageNet\nnot run" in texts


def test_best_branch_is_on_top(search: Any) -> None:
    table = rows.build(search.results, search.store, BALANCED)
    root, _ = tree.build(table.rows, table)
    assert [child.chain.tasks[0] for child in root.children] == ["odc", "relative_location", "moco"]
    assert root.leaves == 6


def test_large_trees_leave_out_the_pruned() -> None:
    names = [f"t{i}>t{j}" for i in range(9) for j in range(9) if i != j]
    singles = [_row(f"t{i}", 40.0 + i) for i in range(9)]
    table = Table((*singles, *(_row(name, None) for name in names)), BALANCED)
    texts = _texts(tree.draw(table))
    assert sum("\n" in text for text in texts) == 9 + 1


def test_the_largest_trees_show_the_best_chains() -> None:
    names = [f"t{i}>t{j}" for i in range(12) for j in range(12) if i != j]
    table = Table(tuple(_row(name, 90.0 - place / 9) for place, name in enumerate(names)), BALANCED)
    drawn = tree.draw(table)
    assert "only the best 30 chains" in drawn.axes[0].get_title()
    leaves = [text for text in _texts(drawn) if re.search(r"\n\d", text)]
    assert len(leaves) == 30


def test_forest_marks_what_could_be_the_best(compared: Table) -> None:
    axes = forest.draw(compared).axes[0]
    marks = [line for line in axes.lines if line.get_marker() in ("o", "D")]
    hollow = [line.get_markerfacecolor() == "white" for line in marks]
    assert hollow == [row.could_be_best is False for row in compared.scored]
    written = {text.get_text() for text in axes.texts}
    assert {"score", "fresh", f"{compared.scored[0].score:.2f}"} <= written
    assert {True, False} <= {*hollow}


def test_forest_shows_the_best_and_every_baseline() -> None:
    rows = (*(_row(f"t{i}", 90.0 - i / 9) for i in range(60)), _row("scratch", 10.0))
    axes = forest.draw(Table(rows, BALANCED)).axes[0]
    assert len(axes.get_yticklabels()) == 41
    assert axes.get_title() == "20 lower chains left out"


def test_regret_falls_to_the_winner(search: Any) -> None:
    table = rows.build(search.results, search.store, BALANCED)
    steps, best = course(table, search.store), table.best
    stages, time = regret.draw(steps, best).axes
    line = next(line for line in stages.lines if line.get_label() == "the best chain so far")
    assert np.allclose(line.get_ydata(), [step.regret for step in steps])
    assert stages.get_xlabel() == "stages trained"
    assert time.get_xlabel() == "worker minutes of training and scoring"
    assert "without shared prefixes" in [line.get_label() for line in stages.lines]
    at_once = regret.draw(steps, table.row(steps[0].chain)).axes[0]
    assert "without shared prefixes" not in [line.get_label() for line in at_once.lines]
    untimed = [replace(step, seconds=None) for step in steps]
    assert len(regret.draw(untimed, best).axes) == 1


def _row(chain: str, score: float | None) -> Row:
    length = 0 if chain == "scratch" else chain.count(">") + 1
    return Row(
        chain=chain, length=length, label="", score=score, ci_low=score, ci_high=score,
        delta=None, above_scratch=None, above_imagenet=None, linear=None,
        knn=None, lrs="", downstream_lr="", status="pruned" if score is None else "done", reason="",
        train_seconds=None, stage_key=None, downstream_key=None,
    )  # fmt: skip


def test_lr_panels_one_a_task_and_one_for_fine_tuning(search: Any) -> None:
    figure = curves.lr_ranges(rows.build(search.results, search.store, BALANCED), search.store)
    assert figure is not None
    titles = [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]
    assert sorted(titles) == ["fine-tuning", "moco", "odc", "relative_location"]
    moco = figure.axes[titles.index("moco")]
    assert sum(line.get_marker() == "^" for line in moco.lines) == 5, "every moco is on the edge"
    odc = figure.axes[titles.index("odc")]
    assert sum(line.get_marker() == "x" for line in odc.lines) == 5, "every odc diverges at 0.1"


@pytest.mark.parametrize(
    ("judge", "said"), [("pretext", "the task's score"), ("probe", "frozen probe: macro AUROC, %")]
)
def test_lr_panels_say_what_chose_the_rate(
    search: Any, monkeypatch: pytest.MonkeyPatch, judge: str, said: str
) -> None:
    monkeypatch.setattr(curves.stored, "lr_policy", lambda *_: {"judge": judge})
    figure = curves.lr_ranges(rows.build(search.results, search.store, BALANCED), search.store)
    assert figure is not None
    axes = {axes.get_title(loc="left") or axes.get_title(): axes for axes in figure.axes}
    assert {name: one.get_ylabel() for name, one in axes.items()} == {
        "moco": said, "odc": said, "relative_location": said, "fine-tuning": BALANCED.with_unit,
    }  # fmt: skip


def test_a_rate_that_was_left_behind_is_hollow_at_its_own_last_score(search: Any) -> None:
    figure = curves.lr_ranges(rows.build(search.results, search.store, BALANCED), search.store)
    assert figure is not None
    titled = {axes.get_title(loc="left") or axes.get_title(): axes for axes in figure.axes}
    moco = titled["moco"]
    hollow = [line for line in moco.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_xdata()[0] for line in hollow] == [0.003] * 5
    assert [line.get_ydata()[0] for line in hollow] == [0.9] * 5
    chosen = [line for line in moco.lines if line.get_marker() == "^"]
    assert all(line.get_ydata()[0] < 0.7 for line in chosen), "not the score of the first rung"


def test_a_learning_curve_is_a_colour_a_task_and_a_line_a_start(search: Any) -> None:
    found = [*learning.curves(rows.build(search.results, search.store, BALANCED), search.store)]
    assert [(one.chain, one.steps, one.auroc) for one in found] == [
        (one.chain, (0, 60, 120), (75.0, 78.0, 81.0)) for one in found
    ]
    assert {one.task for one in found} == {"relative_location", "moco", "odc"}
    assert all(one.title == f"{one.chain} (too short to matter)" for one in found)
    assert learning.sentence(found[0]).endswith(": 75.00 at step 0, 81.00 at step 120")
    long = replace(found[0], chain="w:odc", start="w", task="odc", steps=(0, 1000, 2000))
    assert long.title == "w:odc"
    figure = figures_learning.draw([*found, long])
    assert figure is not None
    lines = figure.axes[0].lines
    assert len({line.get_color() for line in lines}) == 3
    assert [line.get_linestyle() for line in lines] == ["-", "-", "-", "-", "--"]
    assert [one.chain for one in found[3:]] == ["odc>moco"], "the best chain's later stage"
    assert [line.get_linewidth() for line in lines] == [1.4, 1.4, 1.4, 2.6, 1.4]
    marks = {(line.get_color(), line.get_marker()) for line in lines}
    assert len(marks) == 3, "a marker a task, too"
    assert figures_learning.draw([]) is None


def test_nothing_scored_still_draws_the_tree(search: Any, tmp_path: Path) -> None:
    found = summary.build(Table((_row("moco", None),), BALANCED), search.info, _NoStore())
    drawn = figures.draw(found, _NoStore(), tmp_path)
    assert list(drawn) == ["tree"]
    assert drawn["tree"].read_bytes()[:4] == b"\x89PNG"


def test_same_picture_from_same_numbers(search: Any, tmp_path: Path) -> None:
    found = search.only("odc", "scratch").summary
    first = figures.draw(found, search.store, tmp_path)["tree"].read_bytes()
    assert figures.draw(found, search.store, tmp_path)["tree"].read_bytes() == first


class _NoStore:
    def path(self, key: str) -> Path:
        pytest.fail(f"asked for {key}")

    def manifest(self, key: str) -> None:
        pytest.fail(f"asked for {key}")
