"""The sentences: each says what the numbers say, and no more."""

import csv
import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from search import report
from search.chains.chain import BASELINES
from search.console.printable import clock
from search.report import summary, words
from search.report.statistics.course import Step, course
from search.report.statistics.factors import Correlation, Factor, Level
from search.report.statistics.inference import Effect
from search.report.table import Row, Table, p_text
from tests.measures import BALANCED


def _row(chain: str, score: float, **columns: Any) -> Row:
    """A scored chain that trains 100 s a stage."""
    known: dict[str, Any] = {
        "label": "", "delta": None, "above_scratch": None, "above_imagenet": None,
        "linear": None, "knn": None, "lrs": "", "downstream_lr": "", "status": "done", "reason": "",
        "stage_key": None, "downstream_key": None,
        "length": 0 if chain in BASELINES else chain.count(">") + 1,
        "train_seconds": 50.0, "stage_seconds": 100.0 * (chain.count(">") + 1),
    }  # fmt: skip
    return Row(
        chain=chain, score=score, ci_low=score - 2, ci_high=score + 2,
        **known | columns,
    )  # fmt: skip


def _against(chain: str, score: float, p_value: float, best: float = 75.0, **columns: Any) -> Row:
    """Compared with a winner of this score."""
    difference = score - best
    return _row(
        chain, score, difference=difference, difference_low=difference - 3,
        difference_high=difference + 3, p_value=p_value, tied=p_value >= 0.05, **columns,
    )  # fmt: skip


WINNER = _against("a>b", 75.0, 1.0)


def test_conclusion_of_the_published_search(search: Any, compared: Table) -> None:
    made = summary.build(compared, search.info, search.store)
    text = words.conclusion(made)
    moco, test = compared.row("moco"), made.test["odc>moco"]
    assert moco is not None
    less, worst = -(moco.difference or 0), -(moco.difference_low or 0)
    for said in (
        "Its balanced accuracy on validation is 75.44 % (95 % interval 73.54 to 77.24).",
        "26.17 points better than no pretraining (a significant difference)",
        "1.68 points better than ImageNet weights (which chance can explain)",
        f"{len(compared.tied) - 1} of 14 other chains can't be told apart from it",
        "The cheapest of them is moco (1:40 of pretraining instead of 3:20)",
        f"{less:.2f} points worse, at worst about {worst:.2f}",
        f"it scores {test.value:.2f} % ({test.low:.2f} to {test.high:.2f})",
    ):
        assert said in text


def test_significant_and_tied_only_by_the_corrected_p(compared: Table) -> None:
    for row in compared.scored[1:]:
        assert row.p_value is not None
        expected = "tied" if row.p_value >= 0.05 else "significantly worse"
        assert words.against(row, compared) == expected
    assert words.against(compared.scored[0], compared) == "winner"


def test_no_tie() -> None:
    table = Table((WINNER, _against("a", 60.0, 0.001), _against("b", 59.0, 0.0001)), BALANCED)
    assert words.ties(table) == "It is significantly better than each of the 2 other chains."
    table = Table((WINNER, _against("a", 60.0, 0.001)), BALANCED)
    assert words.ties(table) == "It is significantly better than the one other chain."


def test_nothing_cheaper_among_the_tied() -> None:
    table = Table((WINNER, _against("a>b>c", 74.0, 0.4)), BALANCED)
    assert words.ties(table).endswith("None of them trains clearly faster.")


def test_a_single_scored_chain_and_no_predictions() -> None:
    assert words.ties(Table((WINNER, _against("scratch", 50.0, 0.001)), BALANCED)) == (
        "No other chain has a score to compare it with."
    )
    unknown = Table((_row("a>b", 75.0), _row("a", 60.0)), BALANCED)
    assert "can't be told" in words.ties(unknown)
    assert words.against(unknown.rows[1], unknown) == "can't be told"
    assert words.ties(Table((), BALANCED)) == ""


def test_a_baseline_that_wins_is_said(search: Any) -> None:
    imagenet = _against("imagenet", 80.0, 0.01)
    table = Table((imagenet, WINNER, _against("scratch", 74.5, 0.9)), BALANCED)
    made = replace(summary.build(table, search.info, search.store), test={})
    text = words.conclusion(made)
    assert "0.50 points better than no pretraining (which chance can explain)" in text
    assert "5.00 points worse than ImageNet weights (a significant difference)" in text
    assert words.against(imagenet, table) == "significantly better"


def test_baselines_without_a_comparison(search: Any) -> None:
    table = Table((_row("a", 75.0), _row("scratch", 50.0)), BALANCED)
    made = summary.build(table, search.info, search.store)
    text = words.conclusion(made)
    assert "25.00 points better than no pretraining (whether by chance can't be told)" in text
    assert "A comparison with ImageNet weights was not run." in text


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (Effect(0.86, 0.0004), "The last task alone explains 86 % of the variance"),
        (Effect(0.86, 0.0004), "of the score (p <0.001)."),
        (Effect(0.13, 0.52), "of the score (p 0.520), which chance can explain."),
        (None, "can't be told (too few chains)"),
    ],
)
def test_factor(effect: Effect | None, said: str) -> None:
    levels = [Level("a", 3, 70.0), Level("b", 4, 60.0)]
    assert said in words.factor(Factor("last_task", levels, effect))
    one = Factor("label", levels[:1], None)
    assert "can't be told (all of them have the same)" in words.factor(one)


@pytest.mark.parametrize(
    ("value", "p_value", "said"),
    [(0.7, 0.01, "the higher the"), (-0.7, 0.01, "the lower the"), (0.7, 0.2, "not detectably")],
)
def test_correlation(value: float, p_value: float, said: str) -> None:
    found = Correlation("rise", 9, Effect(value, p_value))
    text = words.correlation(found)
    assert said in text
    assert f"Spearman {value:+.2f}, p {p_text(p_value)}" in text
    assert "can't be told" in words.correlation(replace(found, effect=None))


def test_course_names_the_stage_at_which_the_winner_was_known(search: Any, compared: Table) -> None:
    steps = course(compared, search.store)
    assert "odc>moco, was known after 14 of 15 stages" in words.course(steps)
    assert "would have taken 30 until then" in words.course(steps)
    first = [Step("moco", 1, 1, None, 0.0, 0.0)]
    assert words.course(first) == "The best chain, moco, was known after 1 of 1 stages."
    assert "not known" in words.course([])


def test_page_and_csv_have_the_same_numbers(written: Any) -> None:
    """Differences, intervals and p-values agree, since one table feeds both."""
    html = (written[0] / "report" / "index.html").read_text()
    with (written[0] / "report" / "chains.csv").open() as file:
        rows = {row["chain"]: row for row in csv.DictReader(file)}
    chains = html[html.index("Chains and baselines") : html.index("How sure is it?")]
    shown = {
        unescape(re.sub("<[^>]*>", "", name)): unescape(re.sub("<[^>]*>", " ", cells)).split()
        for name, cells in re.findall(r'(?s)<th scope="row">(.*?)</th>(.*?)</tr>', chains)
    }
    assert shown.keys() == rows.keys()
    for name, cells in shown.items():
        if name != written[1]["best_chain"]:
            row = rows[name]
            assert row["balanced_accuracy"] in cells
            for column in ("difference", "difference_low", "difference_high"):
                assert f"{float(row[column]):+.2f}" in cells
            assert p_text(float(row["p_value"])) in cells
            assert ("tied" in cells) == (row["tied"] == "yes")


def test_interrupted_is_said(search: Any, compared: Table) -> None:
    info = replace(search.info, interrupted=True)
    text = words.conclusion(summary.build(compared, info, search.store))
    assert text.endswith("The search was interrupted: chains that were not tried may be better.")


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "0:05"), (250, "4:10"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_policy_that_would_take_another_chain_is_heard(search: Any) -> None:
    table = report.build(search.results, search.store, BALANCED)
    assert table.best is not None
    made = summary.build(table, search.info, search.store)
    assert "recommends" not in words.conclusion(made)
    agreed = replace(search.info, recommended=table.best.chain)
    assert "recommends" not in words.conclusion(replace(made, info=agreed))
    other = replace(search.info, recommended="moco>odc")
    assert "recommends moco>odc: judged by all" in words.conclusion(replace(made, info=other))
