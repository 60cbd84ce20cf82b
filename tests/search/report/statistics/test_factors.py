"""Factors of a good chain, on the published ISIC-2019 results."""

from typing import Any

import pytest

from search.report import rows, summary
from search.report.statistics.factors import correlations, factors, rise
from search.report.table import Table
from tests.measures import BALANCED

SINGLES = {"a": 60.0, "b": 65.0, "c": 70.0}
CURRICULUM = (
    "relative_location", "moco", "odc", "relative_location>moco", "odc>relative_location",
    "odc>moco", "odc>relative_location>moco",
)  # fmt: skip


def _table(search: Any) -> Table:
    return rows.build(search.results, search.store, BALANCED)


def test_last_task_explains_more_than_the_label(search: Any) -> None:
    last, label = factors(_table(search))
    assert [(one.name, one.chains) for one in last.levels] == [
        ("moco", 4), ("odc", 4), ("relative_location", 4),
    ]  # fmt: skip
    assert [round(one.mean, 2) for one in last.levels] == pytest.approx(
        [74.47, 71.89, 66.92], abs=0.02
    )
    assert [one.name for one in label.levels] == ["C", "MC", "AC"]
    assert last.effect is not None
    assert label.effect is not None
    assert (round(100 * last.effect.value), round(100 * label.effect.value)) == (86, 13)
    assert last.effect.p_value < 0.002
    assert label.effect.p_value == pytest.approx(0.52, abs=0.02)


def test_too_few_chains_explain_nothing(search: Any) -> None:
    table = _table(search.only("odc", "moco", "odc>moco", "moco>odc"))
    assert [one.effect for one in (*factors(table), *correlations(table))] == [None] * 5
    assert summary.build(table, search.info, search.store).as_json()["explained"] is None


def test_a_curriculum_alone_can_not_prove_itself(search: Any) -> None:
    """All its chains are C and rise all along: there is nothing to compare them with."""
    table = _table(search.only(*CURRICULUM))
    assert [len(one.levels) for one in factors(table)] == [2, 1]
    assert factors(table)[1].effect is None
    assert correlations(table)[0].effect is None


@pytest.mark.parametrize(
    ("chain", "expected"), [("abc", 1), ("cba", -1), ("acb", 1 / 3), ("bca", -1 / 3), ("ca", -1)]
)
def test_rise_is_kendalls_tau(chain: str, expected: float) -> None:
    assert rise([SINGLES[task] for task in chain]) == pytest.approx(expected)


def test_a_tie_neither_rises_nor_falls() -> None:
    assert rise([1.0, 1.0]) == 0


def test_correlations_of_the_published_table(search: Any) -> None:
    found = {one.measure: one for one in correlations(_table(search))}
    assert {one.chains for one in found.values()} == {12}
    order, last = found["rise"].effect, found["last_single"].effect
    assert order is not None
    assert last is not None
    assert (round(order.value, 2), round(last.value, 2)) == (0.37, 0.35)
    assert min(order.p_value, last.p_value) > 0.05
