"""Chains from two starts: the table, the tree, and whether pretraining pays, and from where."""

from dataclasses import replace
from typing import Any

import pytest

from search.chains.chain import Chain
from search.report import rows, summary, worth
from search.report.figures import tree
from search.report.figures.label_curve import _looks
from search.report.labels import Labelled
from search.report.printed_table import lead, starts
from search.report.statistics.factors import correlations
from search.report.statistics.scored import Estimate
from search.report.statistics.verdicts import Other, Planned, Recommended
from search.report.table import Images, Table
from search.results.records import ChainResult
from tests.measures import BALANCED, scored
from tests.search.report.made_rows import row, table

SCORES = {
    "scratch": 50.0, "imagenet": 70.0, "odc": 55.0, "moco": 60.0, "odc>moco": 63.0,
    "imagenet:odc": 74.0, "imagenet:moco": 72.0, "imagenet:odc>moco": 75.0,
}  # fmt: skip


class NoStore:
    def path(self, key: str) -> Any:
        raise AssertionError(key)

    def manifest(self, key: str) -> None:
        assert not key


@pytest.fixture(scope="module")
def two() -> Table:
    results = [
        ChainResult(Chain.parse(text, ("scratch", "imagenet")), "done", scored(v, v - 1, v + 1))
        for text, v in SCORES.items()
    ]
    results.append(ChainResult(Chain((), "radimagenet"), "not run", reason="no weights"))
    return rows.build(results, NoStore(), BALANCED)


def test_labels_and_deltas_are_within_a_start(two: Table) -> None:
    known = {one.chain: one for one in two.rows}
    assert (known["odc>moco"].label, known["odc>moco"].delta) == ("C", 8.0)
    longer = known["imagenet:odc>moco"]
    assert (longer.label, longer.delta, longer.length) == ("AC", 1.0, 2)
    assert (longer.start, longer.tasks) == ("imagenet", ("odc", "moco"))
    above = longer.above_scratch, longer.above_imagenet, longer.above_start
    assert above == (True, True, True)
    pair = known["odc>moco"]
    assert (pair.above_scratch, pair.above_imagenet, pair.above_start) == (True, False, True)
    assert known["scratch"].above_start is None
    assert two.best == longer
    assert {one.chain for one in two.starts} == {"scratch", "imagenet"}
    assert two.start_names == {"scratch", "imagenet", "radimagenet"}
    assert correlations(two)[0].chains == 2


def test_the_tree_has_a_root_a_start(two: Table) -> None:
    imagenet, scratch, missing = tree.build(two.rows, two)
    assert [str(one.chain) for one in (imagenet, scratch, missing)] == [
        "imagenet", "scratch", "radimagenet",
    ]  # fmt: skip
    assert [str(child.chain) for child in imagenet.children] == ["imagenet:odc", "imagenet:moco"]
    assert [root.winning for root in (imagenet, scratch)] == [True, False]
    assert imagenet.children[0].children[0].winning
    marked = tuple(replace(one, recommended=one.chain == "scratch") for one in two.rows)
    chosen = tree.build(marked, replace(two, rows=marked))
    assert {str(one.chain): one.winning for one in chosen}["scratch"]
    assert not any(one.winning for root in chosen for one in root.children)
    texts = [text.get_text() for text in tree.draw(two).axes[0].texts]
    assert sum("\n" in text for text in texts) == 9
    assert {"ImageNet\n70.00", "scratch\n50.00", "radimagenet\nnot run"} <= {*texts}


def test_the_frozen_probes_stand_first_in_the_terminal(search: Any) -> None:
    from dataclasses import replace

    probes = {"scratch": (20.0, 18.0, 22.0), "imagenet": (40.0, 37.0, 43.0)}
    known = search.table
    made = tuple(
        replace(one, linear=p[0], linear_low=p[1], linear_high=p[2])
        if (p := probes.get(one.chain))
        else one
        for one in known.rows
    )
    found = summary.build(replace(known, rows=made), search.info, search.store)
    printed = starts(found)
    assert printed
    first, second = printed.columns[:2]
    assert [*map(str, first.cells)] == ["imagenet", "scratch"]
    assert [*map(str, second.cells)] == ["40.00 (37.0–43.0)", "20.00 (18.0–22.0)"]
    plain = found.as_json()
    assert [one["start"] for one in plain["starts"]] == ["imagenet", "scratch"]
    assert plain["starts"][0]["linear_ci"] == [37.0, 43.0]
    assert plain["worth_pretraining"] == found.worth == [*lead(found)][1]
    bare = tuple(replace(one, linear=None, knn=None) for one in known.rows)
    assert starts(replace(found, table=replace(known, rows=bare))) is None


def planned(start: str, low: float, value: float, high: float, *others: Other) -> Planned:
    apart = Estimate(value, low, high)
    on = Images(100, 50, 5)
    return Planned("imagenet:odc", start, "test", on, 3, 74.0, 74.0 - value, apart, others)


BEST = row("imagenet:odc", 75.0, difference=0.0, difference_low=0.0, difference_high=0.0)
BEHIND = row("moco", 60.0, difference=-15.0, difference_low=-18.0, difference_high=-12.0)
CLOSE = row("moco", 74.0, difference=-1.0, difference_low=-3.0, difference_high=1.0)
STARTS = row("imagenet", 70.0), row("scratch", 50.0)
CHAIN = Recommended("imagenet:odc", "fresh seeds")


def test_it_pays() -> None:
    said = worth.answer(table(BEST, BEHIND, *STARTS), CHAIN, planned("imagenet", 2.0, 4.0, 6.0))
    assert said == (
        "Yes: imagenet:odc, pretrained on these images, is 4.00 points better than imagenet alone "
        "on test (95 % interval 2.00 to 6.00). From where: imagenet. The best chain from scratch, "
        "moco, is 15.00 points worse than imagenet:odc on validation (95 % interval 12.00 to "
        "18.00)."
    )


def test_where_noise_hides_it_that_is_said() -> None:
    said = worth.answer(table(BEST, CLOSE, *STARTS), CHAIN, planned("imagenet", -2.0, 1.0, 4.0))
    assert said.startswith("Perhaps: imagenet:odc, pretrained on these images, is 1.00 points bett")
    assert "which may be noise" in said
    assert said.endswith("(95 % interval -1.00 to 3.00; that may be noise).")


def test_a_start_that_leads_is_the_answer() -> None:
    start = Recommended("imagenet", "fresh seeds")
    said = worth.answer(table(BEST, BEHIND, *STARTS), start, planned("imagenet", -6.0, -4.0, -2.0))
    assert said.startswith("No: the best chain, imagenet:odc, is 4.00 points worse than imagenet")
    torn = worth.answer(table(BEST, BEHIND, *STARTS), start, planned("imagenet", 1.0, 3.0, 5.0))
    assert torn.startswith("Open: imagenet was better on fresh seeds, though imagenet:odc is 3.00")


def test_its_own_start_is_told_where_another_leads() -> None:
    others = Other("imagenet", Estimate(5.0, 3.0, 7.0), 0.002), Other("scratch", None, None)
    made = table(BEST, BEHIND, *STARTS, row("panderm", 72.0, length=0))
    said = worth.answer(made, CHAIN, planned("panderm", 1.0, 2.0, 3.0, *others))
    assert "is 2.00 points better than panderm alone on test" in said
    assert "; it is 5.00 points better than imagenet, its own start (95 % interval 3.00 to" in said
    assert "p 0.002 by Holm's method" in said


def test_what_can_not_be_told_is_not_told() -> None:
    alone = table(row("moco", 60.0), *STARTS)
    none = worth.answer(alone, Recommended("moco", "selection"), None)
    assert none == (
        "Whether pretraining pays can't be told: best chain and start have no fresh seeds. All "
        "chains began from scratch, so where to begin was not compared."
    )
    assert worth.answer(table(*STARTS), None, None).endswith("no chain has a score.")
    assert worth.answer(table(BEST), None, None).endswith("no start has a score.")


def test_starts_are_grey_diamonds_whatever_their_names() -> None:
    one = Estimate(50.0, 49.0, 51.0)
    names = [("imagenet:odc", False), ("imagenet", True), ("radimagenet", True)]
    points = [Labelled(name, 0.1, one, None, baseline) for name, baseline in names]
    assert [mark for mark, _ in _looks(points, None).values()] == ["o", "D", "D"]
