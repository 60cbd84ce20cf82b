"""The label curve: its points, table, figure and place in the report."""

import csv

import pytest

from search.chains.chain import Chain
from search.chains.node import Node
from search.report import labels
from search.report.figures import label_curve
from search.results.records import LabelPoint
from tests.measures import BALANCED, scored
from tests.search.report.conftest import _write_probe

FRACTIONS = (0.01, 0.1, 1.0)
CURVE = {"odc>moco": (40.0, 60.0, 75.0), "scratch": (20.0, 30.0, 49.0)}


@pytest.fixture
def points(search):
    found = []
    for chain, values in CURVE.items():
        for fraction, value in zip(FRACTIONS, values, strict=True):
            node = Node(Chain.parse(chain), repeat=1000, labels=fraction)
            probe = _write_probe(search.store, search.plan, node, value)
            score = scored(value, value - 4, value + 3)
            found.append(LabelPoint(Chain.parse(chain), fraction, score, "score-key", probe))
    return tuple(found)


def test_a_point_has_the_objective_and_its_probe(search, points):
    found = labels.curve(points, search.store, BALANCED)
    assert [(p.chain, p.labels) for p in found] == [(c, f) for c in CURVE for f in FRACTIONS]
    first = found[0]
    assert (first.tuned.value, first.tuned.low, first.tuned.high) == (40.0, 36.0, 43.0)
    assert (first.probe.value, first.probe.low, first.probe.high) == (31.0, 30.0, 32.0)


def test_the_file_has_a_row_a_point(search, points, tmp_path):
    found = labels.curve(points, search.store, BALANCED)
    labels.write_csv(found, BALANCED, tmp_path / "label_curve.csv")
    rows = list(csv.DictReader((tmp_path / "label_curve.csv").open()))
    assert len(rows) == 6
    assert rows[1] == {
        "chain": "odc>moco", "labels": "0.1", BALANCED.name: "60.00", "ci_low": "56.00",
        "ci_high": "63.00", "linear_probe": "51.00", "probe_ci_low": "50.00",
        "probe_ci_high": "52.00",
    }  # fmt: skip


def test_the_figure_has_a_line_a_chain_in_both_panels(search, points):
    found = labels.curve(points, search.store, BALANCED)
    figure = label_curve.draw(found, BALANCED, "odc>moco")
    for axes, name in zip(figure.axes, ("fine-tuned", "linear probe"), strict=True):
        assert axes.get_title() == name
        lines = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 3]
        assert len(lines) == 2
    tuned = [tuple(line.get_ydata()) for line in figure.axes[0].lines if len(line.get_ydata()) == 3]
    assert tuned == [*CURVE.values()]
    assert figure.axes[0].lines[3].get_color() == label_curve.style.WINNER
    assert label_curve.draw(found[:1], BALANCED, None) is None


def test_the_report_shows_it_and_is_silent_without(make_search, points, tmp_path):
    search = make_search(label_curve=points)
    for chain, values in CURVE.items():
        for fraction, value in zip(FRACTIONS, values, strict=True):
            node = Node(Chain.parse(chain), repeat=1000, labels=fraction)
            _write_probe(search.store, search.plan, node, value)
    summary = search.write(tmp_path / "with")
    assert len(summary["label_curve"]) == 6
    assert summary["label_curve"][0]["tuned"] == {"value": 40.0, "low": 36.0, "high": 43.0}
    page = (tmp_path / "with" / "report" / "index.html").read_text()
    assert "With fewer labels" in page
    assert 'id="label_curve"' in page
    assert "odc&gt;moco at 1% 40.00 fine-tuned, 31.00 by a linear probe" in page
    assert (tmp_path / "with" / "report" / "label_curve.csv").exists()


def test_without_a_curve_the_report_is_silent(written):
    out, summary = written
    assert summary["label_curve"] == summary["external"] == []
    assert summary["sources"] is None
    page = (out / "report" / "index.html").read_text()
    assert not any(text in page for text in ("With fewer labels", "elsewhere", "each source"))
    assert not (out / "report" / "label_curve.csv").exists()
    assert not (out / "report" / "external.csv").exists()
