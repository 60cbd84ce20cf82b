"""The verdicts in sentences, each of its cases."""

from dataclasses import replace
from typing import Any

import pytest

from search.report import verdict_words as words
from search.report.statistics.verdicts import Estimate, Other, Planned, Recommended
from search.report.table import Images
from tests.search.report.made_rows import row, table
from trainables.downstream.measures import MEASURES

CHAIN = row("odc>moco", 35.2, fresh_score=32.1, fresh_scores=(32.0, 32.2))
MOCO = row("moco", 35.2)
START = row("scratch", 31.0, fresh_score=31.5, fresh_scores=(31.4, 31.6))
BY_FRESH, BY_SELECTION = "fresh seeds", "selection"


def _planned(value: float | None, low: float = 0.0, high: float = 0.0, **more: Any) -> Planned:
    found = None if value is None else Estimate(value, low, high)
    known: dict[str, Any] = {"split": "test", "seeds": 2, "others": ()}
    return Planned(
        chain="odc>moco", start="scratch", on=Images(100, 90, 5), chain_score=32.0,
        start_score=31.0, difference=found, **known | more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "planned", "said"),
    [
        (("scratch", BY_FRESH), _planned(-2.0, -3.0, -1.0), "No chain was better than scratch"),
        (("scratch", BY_SELECTION), None, "No chain was clearly better than scratch"),
        (("scratch", BY_FRESH), _planned(2.0, 1.0, 3.0), "though one was on test"),
        (("odc>moco", BY_FRESH), _planned(2.0, 1.0, 3.0), "odc>moco was better than scratch on te"),
        (("odc>moco", BY_FRESH), _planned(0.4, -1.2, 2.0), "over scratch on test may be noise"),
        (("odc>moco", BY_FRESH), _planned(-2.0, -3.0, -1.0), "recommended, but was worse than scr"),
        (("odc>moco", BY_FRESH), _planned(None), "is recommended from one seed; nothing is comp"),
        (("odc>moco", BY_SELECTION), None, "not confirmed: its start has no fresh seeds"),
        (("moco", BY_SELECTION), None, "recommended, not confirmed: it has no fresh seeds"),
    ],
)
def test_headline(chosen: tuple[Any, Any], planned: Planned | None, said: str) -> None:
    assert said in words.headline(table(CHAIN, MOCO, START), Recommended(*chosen), planned)


def test_headline_without_chains_or_starts() -> None:
    assert words.headline(table(), None, None).startswith("No chain finished")
    only_start = words.headline(table(START), Recommended("scratch", "selection"), None)
    assert only_start == "No chain has a score; scratch is the best start"
    only_chain = words.headline(table(CHAIN), Recommended("odc>moco", "selection"), None)
    assert only_chain.endswith("not confirmed: no start was scored")


def test_an_error_that_is_lower_is_better() -> None:
    lower = replace(table(CHAIN, START), objective=MEASURES["brier"])
    planned = _planned(-2.0, -3.0, -1.0)
    chosen = Recommended("odc>moco", "fresh seeds")
    assert words.headline(lower, chosen, planned) == "odc>moco was better than scratch on test"
    assert "2.00 points better than scratch on test (95 % interval 1.00 to 3.00)" in (
        words.planned_words(lower, planned)
    )


def test_the_planned_comparison_comes_before_the_others_with_their_p() -> None:
    other = Other("imagenet", Estimate(-0.6, -1.5, 0.3), 0.21)
    said = words.planned_words(table(CHAIN, START), _planned(1.0, 0.2, 1.8, others=(other,)))
    assert said.startswith(
        "The planned comparison: odc>moco is 1.00 points better than scratch on test "
        "(95 % interval 0.20 to 1.80): 32.00 % against 31.00, 2 fresh seeds, paired."
    )
    assert "It is 0.60 points worse than imagenet (95 % interval -0.30 to 1.50, p 0.210)" in said
    unsure = words.planned_words(table(CHAIN, START), _planned(0.4, -1.2, 2.0, split="val"))
    assert "on validation (95 % interval -1.20 to 2.00; that may be noise)" in unsure
    one = words.planned_words(table(CHAIN, START), _planned(None, seeds=1))
    assert one.endswith("One seed can't tell whether they differ.")


def test_the_selected_score_is_shown_with_its_optimism() -> None:
    shown = table(CHAIN, START)
    assert words.luck(shown, 35.2 - 32.1) == (
        "odc>moco was chosen at 35.20, and has 32.10 on fresh seeds: 3.10 points of it were luck."
    )
    assert words.luck(shown, -0.5).endswith("none of it was luck.")
    assert words.luck(table(row("a", 30.0)), None) == ""


def test_the_set_that_could_be_the_best() -> None:
    rows = (replace(CHAIN, could_be_best=True), replace(START, could_be_best=False))
    control = row("moco>moco", 33.0, control=True)
    said = words.could_be_best(table(*rows, control))
    assert said.startswith("1 of 2 could be the best (odc>moco), with 95 % confidence")
    assert [words.could(one) for one in (*rows, control, START)] == [
        "could be best", "worse", "control", "–",
    ]  # fmt: skip
    assert words.could_be_best(table(CHAIN, START)) == ""


def test_controls_say_what_they_are() -> None:
    compared = {"difference": 0.4, "difference_low": -1.2, "difference_high": 2.0}
    longer = row("moco>moco", 35.6, control=True, **compared)
    assert words.control(longer, table(CHAIN, longer)) == (
        "moco twice in a row: +0.40 (-1.20 to 2.00)"
    )
    steps = replace(longer, stage_steps=102_690), replace(CHAIN, stage_steps=55_010)
    assert words.control(steps[0], table(*steps[::-1])).startswith(
        "moco twice in a row (102,690 steps, the best chain 55,010): +0.40"
    )
    assert words.meaning(("moco",) * 3, ("odc", "moco")) == "moco three times in a row"
    assert words.meaning(("moco", "odc"), ("odc", "moco")) == "the tasks of odc>moco in reverse"


def test_the_recommended_with_its_score() -> None:
    shown = table(replace(CHAIN, fresh_low=30.0, fresh_high=34.0), START)
    said = words.recommendation(shown, Recommended("odc>moco", "fresh seeds"), "")
    assert "is 32.10 % (95 % interval 30.00 to 34.00) on 2 fresh seeds" in said
    assert "that of scratch is 31.50" in said
    said = words.recommendation(shown, Recommended("scratch", "selection"), "the budget is spent")
    assert said.startswith("scratch is recommended by selection")
    assert said.endswith("There are no fresh seeds of both chain and start (the budget is spent).")
