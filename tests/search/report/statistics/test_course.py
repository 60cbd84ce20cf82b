"""The course of a search: known answers from the published table in its own order."""

from dataclasses import replace
from typing import Any

import pytest

from search.report import rows, words
from search.report.figures import regret
from search.report.statistics.course import course
from tests.measures import BALANCED


def test_regret_against_stages_and_seconds(search: Any) -> None:
    steps = course(rows.build(search.results, search.store, BALANCED), search.store)
    assert [step.chain for step in steps[:3]] == [
        "relative_location", "relative_location>odc", "relative_location>odc>moco",
    ]  # fmt: skip
    assert [step.regret for step in steps[:3]] == pytest.approx([5.92, 4.76, 0.44])
    assert [step.stages for step in steps] == list(range(1, 16)), "every prefix is trained once"
    assert [step.stages_alone for step in steps[:4]] == [1, 3, 6, 8]
    assert steps[-1].stages_alone == 33
    assert steps[-1].seconds == 15 * 100 + 15 * 50
    assert [step.chain for step in steps if step.missing == 0] == ["odc>moco"]
    assert (steps[12].regret, steps[13].regret, steps[14].regret) == pytest.approx((0.44, 0, 0))


def test_a_prefix_that_was_never_scored_is_paid_with_the_chain(search: Any) -> None:
    small = search.only("odc>moco", "moco")
    steps = course(rows.build(small.results, small.store, BALANCED), small.store)
    assert [(step.chain, step.stages) for step in steps] == [("moco", 1), ("odc>moco", 3)]


def test_a_chain_above_the_best_chain_is_no_negative_regret(search: Any) -> None:
    table = rows.build(search.results, search.store, BALANCED, "relative_location>odc>moco")
    steps = course(table, search.store)
    above = [step for step in steps if step.missing < 0]
    assert [(step.chain, step.missing) for step in above] == [("odc>moco", pytest.approx(-0.44))]
    assert steps[1].regret > 0
    assert {step.regret for step in steps[2:]} == {0}
    assert "The best chain, relative_location>odc>moco, was known after 3 of 15" in words.course(
        steps, table.best
    )
    for axes in regret.draw(steps, table.best).axes:
        assert axes.get_ylim()[0] < -0.44
        best = [line.get_ydata()[0] for line in axes.lines if line.get_label() == "the best chain"]
        assert best == [0]


def test_of_equal_scores_the_chosen_one_is_the_best_chain(search: Any) -> None:
    table = rows.build(search.results, search.store, BALANCED)
    steps = [replace(step, missing=0.0) for step in course(table, search.store)]
    assert "The best chain, odc>moco, was known after 14 of 15" in words.course(steps, table.best)
    (dot,) = [
        line for line in regret.draw(steps, table.best).axes[0].lines
        if line.get_label() == "the best chain"
    ]  # fmt: skip
    assert dot.get_xdata()[0] == 14


def test_no_order_no_course(search: Any) -> None:
    results = [replace(result, order=None) for result in search.results]
    assert course(rows.build(results, search.store, BALANCED), search.store) == ()
