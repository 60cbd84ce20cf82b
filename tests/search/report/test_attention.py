"""Where networks look, in the report: table, sentences, figure by a fixed rule."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from search import report
from search.report import attention, stored
from search.report.figures import attention as figure
from search.report.stored import Predictions
from search.tracking import sharing
from trainables.downstream.attention import ATTENTION
from trainables.spec import Measure

CHAINS = ("scratch", "imagenet", "moco", "odc", "odc>moco")


def told(value: float, low: float, high: float) -> Measure:
    return Measure(value, low, high, "%", True)


@pytest.fixture(scope="module")
def looked(make_search: Any) -> Any:
    """A small search whose networks have maps and measures of attention."""
    found = make_search(scores={"scratch": 35.0, "imagenet": 41.0, "moco": 44.0, "odc": 43.0,
                                "odc>moco": 47.0}, best_chain="odc>moco")  # fmt: skip
    results = []
    for place, result in enumerate(found.results):
        ail = 30.0 + 10 * place
        more = {
            "ail": told(ail, ail - 3, ail + 3), "region_area": told(34.0, 33.0, 35.0),
            "ail_ratio": told(ail / 34, 1, 2), "ail_random": told(36.0, 35.0, 37.0),
            "accuracy_whole": told(60.0, 55.0, 65.0),
            "accuracy_inside_blanked": told(58.0, 53.0, 63.0),
        }  # fmt: skip
        score = replace(result.score, measures={**result.score.measures, **more})
        results.append(replace(result, score=score))
        maps = np.random.default_rng(place).random((1200, 2, 4, 4)).astype(np.float16)
        file = found.store.path(result.downstream_key) / "attention.npz"
        np.savez_compressed(file, rows=np.arange(0, 2400, 2), maps=maps, values=maps[:, 0, 0])
    return replace(found, results=results)


def images() -> tuple[Any, Any]:
    """Images as the cache has them, and masks of half of them."""
    names = tuple(f"image{i}" for i in range(2400))
    pixels = np.random.default_rng(0).integers(0, 255, (2400, 16, 16, 3), np.uint8)
    data = SimpleNamespace(images=pixels, names=names, split={"val": np.arange(2400)})
    mask = np.zeros((1200, 16, 16, 1), np.uint8)
    mask[:, 4:12, 4:12] = 255
    return data, SimpleNamespace(images=mask, names=names[::2])


def test_images_are_chosen_by_the_percentiles_of_confidence():
    confidence = np.linspace(0.5, 0.99, 22)
    labels = np.arange(22) % 2
    said = np.stack([confidence, 1 - confidence], 1)  # the even ones are right
    shown = Predictions(["a", "b"], labels, said, np.array(["g"] * 22))
    rows = np.arange(22)
    found = attention.examples(shown, rows)
    assert [one.why for one in found] == [
        "right, 90th", "right, 50th", "right, 10th", "wrong, 90th", "wrong, 50th", "wrong, 10th",
    ]  # fmt: skip
    assert [one.at for one in found] == [18, 10, 2, 19, 11, 3]
    assert attention.examples(shown, rows[[4]]) == [(0, "right, 10th")], "one image, shown once"


def test_of_several_labels_the_likeliest_is_right_if_it_is_one_of_them():
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [-1, 0, 1]])
    said = np.array([[0.2, 0.9, 0.8], [0.9, 0.4, 0.1], [0.6, 0.1, 0.2], [0.7, 0.6, 0.5]])
    shown = Predictions(["a", "b", "c"], labels, said, np.array(["g"] * 4))
    found = attention.examples(shown, np.arange(4))
    assert [(one.at, one.why[:5]) for one in found] == [
        (0, "right"), (1, "wrong"), (3, "wrong"), (2, "wrong"),
    ]  # fmt: skip
    axes = Figure().subplots()
    titles = []
    for row in range(4):
        figure._title(axes, shown, row, "")
        titles.append(axes.get_title())
    long = replace(shown, classes=["a", "No_findings", "Pneumonia"])
    figure._title(axes, long, 1, "")
    assert axes.get_title() == "a 90 %, true No_findings"
    figure._title(axes, replace(long, labels=np.ones_like(labels) * [0, 1, 1]), 1, "")
    assert axes.get_title() == "a 90 %, true No_findings,\nPneumonia", "as wide as an image"
    assert titles == ["b 90 %", "a 90 %, true b", "a 60 %, true none", "a 70 %, true c"]


BESIDE = [ATTENTION[name] for name in ("ail", "region_area")]


def test_the_table_has_the_attention_and_its_chance_level(looked):
    table = report.build(looked.results, looked.store, looked.plan.objective, "odc>moco", BESIDE)
    row = table.row("odc>moco")
    assert table.further(row) == {"ail": 70.0, "region_area": 34.0}
    plain = replace(looked, results=[replace(r, score=None) for r in looked.results])
    assert attention.attended(plain.table) == ()


def test_the_sentences_say_what_speaks_against_it(looked):
    said = " ".join(attention.sentences(looked.table))
    assert "imagenet has 40.0 % of its attention inside the region (37.0 to 43.0)" in said
    assert "whose area is 34.0 % of the image: more than by chance" in said
    assert "random weights" not in said, "36 is below the interval, and imagenet recommended"
    assert "With the region blanked its accuracy is 58.00 %, against 60.00 % (55.00 to " in said
    low = replace(looked, results=[r for r in looked.results if str(r.chain) == "scratch"])
    other = " ".join(attention.sentences(low.table))
    assert "30.0 % of its attention inside the region (27.0 to 33.0)" in other
    assert "less than by chance" in other


def test_maps_that_are_too_coarse_are_warned_of(looked):
    """Of the way from the area, 34 %, to 100 % the best cell must go half: to 67 %."""
    assert "too coarse" not in " ".join(attention.sentences(looked.table))
    for most, warned in ((66.9, True), (67.1, False)):
        rows = [
            replace(row, measures={**row.measures, "ail_most": told(most, most, most)})
            for row in looked.table.rows
        ]
        said = " ".join(attention.sentences(replace(looked.table, rows=tuple(rows))))
        assert (f"the best of them has {most} % inside the region" in said) is warned


def test_the_grid_has_the_networks_across_and_the_images_down(looked):
    drawn = figure.draw(looked.table, looked.store, *images())
    assert drawn is not None
    assert len(drawn.axes) == 6 * 4
    heads = [axes.get_title().split("\n")[0] for axes in drawn.axes[:4]]
    assert heads == ["scratch", "ImageNet", "moco", "odc>moco"]
    labels = [axes.get_ylabel() for axes in drawn.axes[::4]]
    assert labels[0] == "right, 90th"
    assert labels[5] == "wrong, 10th"
    assert "that imagenet answers rightly" in drawn._supxlabel.get_text().replace("\n", " ")


def test_the_figure_shows_patients_so_it_stays_in_the_folder(looked, tmp_path):
    found = report.write(looked.table, looked.plan, looked.info, looked.store, tmp_path)
    report.illustrate(found, looked.plan, looked.store, tmp_path, *images())
    folder = tmp_path / "report"
    assert (folder / attention.FIGURE).read_bytes()[:4] == b"\x89PNG"
    page = (folder / "index.html").read_text()
    assert "What the networks attend to" in page
    assert f'href="{attention.FIGURE}"' in page
    assert "these images have no masks" in page, "the plan names none"
    assert found.notes[-1].startswith("These images have no masks, so the region of AIL is all but")
    for level in ("aggregates", "no names"):
        assert not sharing._may_leave(attention.FIGURE, level)


def test_without_maps_there_is_no_figure(search):
    assert stored.looked(search.store, search.results[0].downstream_key) is None
    assert figure.draw(search.table, search.store, *images()) is None
