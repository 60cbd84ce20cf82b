"""The sentences: each says what the numbers say, and no more."""

import csv
import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from search.console.printable import clock
from search.report import summary, words
from search.report.ledger import Seen
from search.report.statistics.course import Step, course
from search.report.statistics.factors import Correlation, Factor, Level
from search.report.statistics.inference import Effect
from search.report.statistics.noise import Noise
from search.report.table import Table, p_text


def test_the_verdicts_lead_with_fresh_seeds_and_the_planned_comparison(judged: Any) -> None:
    made = judged.summary
    first, second, third, fourth, fifth = list(filter(None, words.verdicts(made)))
    best = made.table.best
    assert best.chain == "relative_location>odc>moco", "what the policy recommends"
    assert f"is {best.fresh_score:.2f} % (95 % interval" in first
    assert second.startswith(f"The planned comparison: {best.chain} is ")
    assert "better than imagenet on test" in second
    assert f"chosen at {best.score:.2f}, and has {best.fresh_score:.2f} on fresh seeds" in third
    assert fourth.startswith(f"{len(made.table.contenders)} of 17 could be the best")
    assert fifth.startswith("The cheapest chain that could be the best is ")


def test_a_start_that_leads_is_the_headline(led: Any) -> None:
    made = led.summary
    assert made.headline == "No chain was better than scratch"
    assert "points worse than scratch on test" in words.conclusion(made)


def test_one_seed_compares_nothing(search: Any) -> None:
    made = search.summary
    text = words.conclusion(made)
    for compared in ("could be the best", "planned comparison", "better than", "luck"):
        assert compared not in text
    assert any("nothing is ranked or compared" in note for note in made.notes)


def test_nothing_speaks_of_ties_or_of_all_pairs(written: Any) -> None:
    out = written[0]
    texts = [out / "report" / name for name in ("index.html", "summary.json", "chains.csv")]
    for path in (*texts, out / "best" / "model_card.md"):
        assert not re.search(r"\btied\b|all pairs|significantly", path.read_text()), path


def test_looks(judged: Any) -> None:
    made = judged.summary
    assert "No earlier look" in words.looks(replace(made, seen=Seen(0)))
    assert "were looked at 3 times before" in words.looks(replace(made, seen=Seen(3)))
    assert "could not be recorded" in words.looks(replace(made, seen=Seen(0, "Permission denied")))
    blind = summary.build(judged.table, judged.info, judged.store, test=False)
    assert "without a look at the test images" in words.looks(blind)
    assert (blind.test, blind.test_on, blind.planned.split) == ({}, None, "val")


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
    found = Correlation("rise", 9, Effect(value, p_value, -0.9, 0.9))
    text = words.correlation(found)
    assert said in text
    assert f"Spearman {value:+.2f} (-0.90 to +0.90), p {p_text(p_value)}" in text
    assert "can't be told" in words.correlation(replace(found, effect=None))


def test_course_names_the_stage_at_which_the_winner_was_known(search: Any) -> None:
    steps, best = course(search.table, search.store), search.table.best
    assert "odc>moco, was known after 14 of 15 stages" in words.course(steps, best)
    assert "would have taken 30 until then" in words.course(steps, best)
    first = [Step("moco", 1, 1, None, 0.0, 0.0)]
    moco = search.table.row("moco")
    assert words.course(first, moco) == "The best chain, moco, was known after 1 of 1 stages."
    assert "not known" in words.course([], best)


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
            assert ("could" in cells) == (row["could_be_best"] == "yes")


def test_interrupted_is_said(search: Any, compared: Table) -> None:
    info = replace(search.info, interrupted=True)
    text = words.conclusion(summary.build(compared, info, search.store))
    assert text.endswith("The search was interrupted: chains that were not tried may be better.")


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "0:05"), (250, "4:10"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_split_is_told_as_it_was_made(search: Any) -> None:
    data = search.plan.space.data
    assert words.split(search.info, data) == (
        "drawn by patient group (a lesion or patient is on one side), stratified: of every class's "
        "images about 15% for validation, 15% for test"
    )
    whole = replace(search.info, given_split=("test", "train", "val"))
    assert words.split(whole, data) == "given by the data set; a lesion or patient is on one side"
    partly = words.split(replace(search.info, given_split=("test", "train")), data)
    assert ", validation (15%) drawn from its training images; a lesion" in partly
    assert words.split(replace(whole, leak="it leaks"), data) == "it leaks"


def test_what_training_again_would_change_is_told_by_what_is_known(search: Any) -> None:
    table = search.table
    once = replace(
        table, noise=None, rows=tuple(replace(r, seed_scores=(1.0,)) for r in table.rows)
    )
    assert "(repeats=3 would)" in words.repeated(once, 0)
    starts = replace(once, rows=tuple(
        replace(r, seed_scores=(1.0, 2.0, 3.0)) if r.is_baseline else r for r in once.rows
    ))  # fmt: skip
    assert "(the same command continues with further seeds)" in words.repeated(starts, 0)
    known = replace(starts, noise=Noise(4.0, 1.0, 5, 0.0, 0.0, 2))
    said = words.repeated(known, 0)
    assert said.startswith("2 rows were trained with several seeds, up to 3; 15 chains with one.")
    assert "One training differs from the next by 1.73 points" in said
