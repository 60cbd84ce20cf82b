"""A published table beside a search: ranks by known answers, what is shown, what is refused."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import spearmanr

from search import report
from search.report import printed_table, published
from search.report.page import page
from search.report.published import Published
from search.space import load
from tests.search.published import SCORES
from trainables.errors import UserError

ISIC = Path(__file__).parents[4] / "shared" / "reference" / "isic2019_published.csv"
NOISY = {name: score - 5 * name.endswith("moco") for name, score in SCORES.items()}


@pytest.fixture
def isic() -> Path:
    if not ISIC.is_file():
        pytest.skip(f"no published table: {ISIC} is not there")
    return ISIC


def beside(search: Any, path: Path) -> Published:
    space = replace(search.plan.space, published=str(path))
    found = published.beside(search.table, space)
    assert found
    return found


def told(found: Published) -> str:
    return " ".join(published.sentences(found))


def test_a_search_that_repeats_the_table_agrees_with_it(search: Any, isic: Path) -> None:
    found = beside(search, isic)
    assert found.effect
    assert found.effect.value == pytest.approx(1.0)
    assert (len(found.shared), found.agree, found.pairs) == (15, 105, 105)
    assert [line.name for line in found.lines][:2] == ["odc>moco", "relative_location>odc>moco"]
    assert [line.name for line in found.lines if line.rank is None] == ["imagenet", "scratch"]
    assert found.further == ("label",)
    said = told(found)
    assert (
        "rank correlation of +1.00 (Spearman, 95 % interval +0.99 to +1.00, p <0.001): 105" in said
    )
    assert "Both have odc>moco first. No chain is more than one rank apart." in said


def test_where_both_differ_is_told(make_search: Any, isic: Path) -> None:
    """Chains that end in MoCo are five points lower here: a slow oracle's correlation."""
    found = beside(make_search(scores=NOISY), isic)
    assert found.effect
    oracle = spearmanr(list(SCORES.values()), list(NOISY.values())).statistic
    assert found.effect.value == pytest.approx(oracle)
    assert found.agree < found.pairs == 105
    lines = {line.name: line for line in found.lines}
    assert (lines["odc>moco"].rank, lines["odc>moco"].own_rank) == (1, 4)
    assert lines["relative_location>moco>odc"].own_rank == 1
    assert lines["imagenet"].own is None
    said = told(found)
    assert "The best there, odc>moco, is of rank 4 here; the best here, " in said
    assert re.search(r"They differ most about moco \(rank 6 there, \d+ here\)", said)


def test_literature_rows_and_further_columns_are_shown(search: Any, tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text(
        "chain,published,lesion\nodc>moco,75.44,61.5\nmoco,72.74,\nA challenge's winner,72.5,58\n"
        "scratch,49.27,40\nmoco>odc,,\n"
    )
    found = beside(search, path)
    assert (found.column, found.further) == ("published", ("lesion",))
    assert [(line.name, line.rank, line.further) for line in found.lines] == [
        ("odc>moco", 1, ("61.5",)), ("moco", 2, ("",)), ("A challenge's winner", None, ("58",)),
        ("scratch", None, ("40",)),
    ]  # fmt: skip
    assert "a rank correlation takes 6 that differ: 1 of 1 pairs" in told(found)
    html = page.render(replace(search.summary, published=found), search.plan, {})
    assert "Beside the published table" in html
    assert "A challenge&#39;s winner" in html
    assert "Beside the published table" not in page.render(search.summary, search.plan, {})


def test_it_is_in_summary_and_terminal(make_search: Any, isic: Path, tmp_path: Path) -> None:
    made = make_search(scores=NOISY)
    plan = replace(made.plan, space=replace(made.plan.space, published=str(isic)))
    found = report.write(made.table, plan, made.info, made.store, tmp_path)
    plain: Mapping[str, Any] = found.as_json()["published"]
    assert (plain["file"], plain["pairs"]) == (isic.name, 105)
    assert len(plain["lines"]) == 17
    assert any("The best there, odc>moco" in said for said in printed_table.lead(found))
    assert plan.identity() == made.plan.identity(), "it decides nothing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "published={path}: must be a CSV file"),
        ("task,score\nmoco,1\n", "must have the column chain"),
        ("chain,score\nmoco,1\nmoco>swav,2\n", "row 3: chain=moco>swav: must be one of moco, odc"),
        ("chain,score\nmoco,1\nocd,2\n", "try odc, or literature in the column label"),
        ("chain,score\nwinner,1\n", "must have a column of numbers"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as caught:
        published.read(load("isic3", [f"published={path}"]))
    assert said.format(path=path) in str(caught.value)
    assert "\n" not in str(caught.value)
