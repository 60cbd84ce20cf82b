"""The page and the whole report: what a reader is told, and that nothing can break out of it."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError, meta

from search.chains.chain import Chain
from search.console.printable import printable
from search.report import rows, summary
from search.report.page import IMAGES, page
from tests.measures import BALANCED, scored

TAG = '<img src="x" onerror="y"'  # the arrow of a chain would close it
HOSTILE = '<script>alert("x")</script>&\'{{ 7 * 7 }}\u202e'


class Page(HTMLParser):
    """Tags, attributes and the text of a page; refuses tags that are closed by the wrong one."""

    VOID = ("meta", "img", "br", "wbr", "rect", "link")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _render(search: Any, figures: dict[str, Path] | None = None) -> Page:
    return Page(page.render(search.summary, search.plan, figures or {}))


def test_columns_of_probes_stand_where_something_is_probed(search: Any) -> None:
    known, probes = search.summary, ("linear|probe", "kNN|probe")
    head = page.render(known, search.plan, {}).partition("Details of the same chains")[2]
    head = head.partition("</thead>")[0].replace("<br>", "|")
    assert all(name in head for name in probes)
    bare = tuple(replace(one, linear=None, knn=None) for one in known.table.rows)
    table = replace(known.table, rows=bare)
    html = page.render(replace(known, table=table), search.plan, {})
    assert not any(name in html.replace("<br>", "|") for name in probes)
    Page(html)


def test_files_and_summary(written: tuple[Path, dict[str, Any]]) -> None:
    out, made = written
    names = {path.name for path in (out / "report").iterdir()}
    pictures = {"tree", "intervals", "regret", "confusion", "finetuning", "learning",
                "lr_ranges", "pretext"}  # fmt: skip
    assert names == {"chains.csv", "summary.json", "index.html", *(f"{p}.png" for p in pictures)}
    assert json.loads((out / "report" / "summary.json").read_text()) == made
    assert made["best_chain"] == made["recommended"] == "relative_location>odc>moco"
    assert (made["stages_trained"], made["stages_naive"], made["demo"]) == (15, 33, False)
    with (out / "report" / "chains.csv").open() as file:
        assert [row["chain"] for row in csv.DictReader(file)] == [
            row["chain"] for row in made["chains"]
        ]


def test_page_is_self_contained_and_well_formed(written: tuple[Path, dict[str, Any]]) -> None:
    shown = Page((written[0] / "report" / "index.html").read_text())
    images = [attributes["src"] or "" for tag, attributes in shown.tags if tag == "img"]
    assert len(images) == 8
    assert all(source.startswith("data:image/png;base64,") for source in images)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in shown.tags}
    assert "relative_location>odc>moco was better than imagenet on test" in shown.text
    assert "the last task alone explains" in shown.text.casefold()
    assert "demonstration" not in shown.text


def test_further_measures_have_a_table_of_their_own(judged: Any) -> None:
    """More than ten columns do not fit the page."""
    found = replace(judged.summary, table=replace(judged.table, beside=(BALANCED,)))
    html = page.render(found, judged.plan, {})
    tables = re.findall(r"<caption>(.*?)</caption>(.*?)</thead>", html, re.DOTALL)
    columns = {caption.partition(",")[0]: head.count('scope="col"') for caption, head in tables}
    assert columns["Chains and baselines"] == 10
    assert columns["Further measures of the same chains: validation"] == 3


def test_demo_is_said(search: Any) -> None:
    demo = replace(search, info=replace(search.info, demo=True, data="demo"))
    shown = _render(demo)
    assert "the numbers mean nothing for your data" in shown.text
    assert shown.text.count("the numbers mean nothing: DEMONSTRATION images") >= 2  # title, h1


def test_imagenet_not_run_is_no_number(search: Any) -> None:
    shown = _render(search.without("not run", "no weights", "imagenet"))
    assert "not run: no weights" in shown.text
    assert "73.76" not in shown.text


def test_no_gain_is_said(search: Any) -> None:
    worse = [
        replace(r, score=scored(80.0, 78.0, 82.0)) if str(r.chain) == "scratch" else r
        for r in search.results
    ]
    shown = _render(replace(search, results=worse))
    assert "No chain was clearly better than scratch" in shown.text
    table = rows.build(worse, search.store, BALANCED)
    made = summary.build(table, search.info, search.store).as_json()
    assert (made["best_chain"], made["best_above_scratch"]) == ("odc>moco", False)


def test_failed_pruned_and_interrupted_are_said(search: Any) -> None:
    partial = search.without("failed", "loss is NaN at step 3", "moco>odc")
    partial = partial.without("pruned", "its accuracies fall", "moco>relative_location")
    partial = replace(partial, info=replace(search.info, interrupted=True))
    text = _render(partial).text
    for said in ("loss is NaN at step 3", "its accuracies fall", "search was interrupted"):
        assert said in text


def test_no_winner(search: Any) -> None:
    chains = [str(result.chain) for result in search.results]
    nothing = search.without("failed", "no disk", *chains)
    assert "No chain finished" in _render(nothing).text


def test_everything_from_outside_is_escaped(
    make_search: Callable[..., Any], tmp_path: Path
) -> None:
    search = make_search(
        classes=[HOSTILE, "b", "$x$"], data=HOSTILE, space=HOSTILE, policy=HOSTILE, device=HOSTILE,
        started=HOSTILE, profile=HOSTILE,
    ).without("failed", HOSTILE, "moco>odc")  # fmt: skip
    search = replace(
        search, results=[replace(r, reason=r.reason or HOSTILE) for r in search.results]
    )
    search.write(tmp_path)
    html = (tmp_path / "report" / "index.html").read_text()
    shown = Page(html)
    assert "script" not in {tag for tag, _ in shown.tags}
    assert shown.text.count(printable(HOSTILE)) >= 9
    assert any(printable(HOSTILE) in (attributes.get("alt") or "") for _, attributes in shown.tags)
    assert not html.count("\u202e")


def test_a_task_that_is_named_like_a_tag_is_none(search: Any) -> None:
    renamed = [
        replace(
            r, chain=Chain(tuple(TAG if t == "odc" else t for t in r.chain.tasks), r.chain.start)
        )
        for r in search.results
    ]
    search = replace(search, results=renamed)
    failed = search.without("failed", "why", f"moco>{TAG}")
    for shown in (_render(search), _render(failed)):
        assert not {"img", "onerror"} & {word for tag, more in shown.tags for word in (tag, *more)}
        assert f"relative_location>{TAG}>moco" in shown.text
        assert shown.text.count(TAG) > 20


def test_figures_are_told_in_numbers(written: tuple[Path, dict[str, Any]]) -> None:
    shown = Page((written[0] / "report" / "index.html").read_text())
    told = [attributes["alt"] or "" for tag, attributes in shown.tags if tag == "img"]
    tree, intervals, regret, confusion, grown, finetuning, rates, pretext = told
    assert "15 scored chains from 63." in tree
    assert "relative_location>odc>moco 75.07" in tree
    assert "), could be best" in intervals
    assert "15 in all" in regret
    assert "(too short to matter): 75.00 at step 0, 81.00 at step 120" in grown
    recall = written[1]["recall"][0]
    assert f"{recall['class']} {recall['recall']:.0f} % of {recall['images']}" in confusion
    assert "scratch 49.12 %" in finetuning
    assert "odc 0.03, moco 0.1*" in rates
    assert "relative_location 50 % right" in pretext


def test_tables_have_heads_and_captions(written: tuple[Path, dict[str, Any]]) -> None:
    tags = Page((written[0] / "report" / "index.html").read_text()).tags
    count = [tag for tag, _ in tags].count
    assert count("table") == count("caption") == count("thead") == 9
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in tags if tag == "th")


def test_a_thousand_pruned_chains_are_one_line(search: Any) -> None:
    table = search.without("pruned", "falls", "moco>odc").table
    pruned = next(row for row in table.rows if row.status == "pruned")
    more = (replace(pruned, chain=f"a>b{i}") for i in range(1000))
    many = replace(table, rows=(*table.rows, *more))
    made = summary.build(many, search.info, search.store)
    text = Page(page.render(made, search.plan, {})).text
    assert "a>b28 and 971 more" in text
    assert "1001 chains of the space have no score" in text


def test_without_weights_there_is_nothing_to_load(search: Any) -> None:
    shown = Page(page.render(search.summary, search.plan, {})).text
    assert "(the key names of torchvision)" in shown
    assert "python best/load.py" in shown
    none = Page(page.render(search.summary, search.plan, {}, loads=False)).text
    assert "load.py" not in none.partition("Using the recommended")[2]
    assert "the store has none of it" in none


def test_a_segmentation_has_no_recall_of_classes(search: Any) -> None:
    space = search.plan.space
    masks = replace(space, downstream=replace(space.downstream, kind="segment"))
    other = replace(search.plan, space=masks)
    for plan, said in ((search.plan, True), (other, False)):
        text = Page(page.render(search.summary, plan, {})).text
        assert ("points of its recall" in text) == said


def _templates() -> dict[str, str]:
    return {path.name: path.read_text() for path in Path(page.__file__).parent.glob("*.html")}


def test_templates_use_exactly_what_is_given(search: Any) -> None:
    parts = [source for name, source in _templates().items() if name != IMAGES]
    assert asked(*parts) == page.values(search.summary, search.plan, {}, True).keys()


def asked(*templates: str) -> set[str]:
    """The values that templates use."""
    parsed = map(page.environment().parse, templates)
    return {name for one in parsed for name in meta.find_undeclared_variables(one)}


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        page.environment().from_string("{{ missing }}").render()


def test_no_template_marks_text_as_safe() -> None:
    assert "page.html" in _templates()
    for name, source in _templates().items():
        assert not re.search(r"\bsafe\b|autoescape", source), name
