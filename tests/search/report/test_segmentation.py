"""The report of a search whose chains are judged by masks: compared as those that tell classes."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.report import stored
from search.report.statistics import verdicts
from tests.search.report.made_rows import Judged
from trainables.kinds.segment import MEASURES, OVERLAPS

DICE = {"moco": 85.0, "odc": 80.0, "odc>moco": 88.0, "scratch": 80.0, "imagenet": 84.9}
PATIENTS = 40


def _measured(count, value, seed):
    """Two images of a patient, of which some are hard for all; noise by seed. The mean is exact."""
    patients = np.random.default_rng(0).normal(0, 0.04, count).repeat(2)
    dice = patients + np.random.default_rng(seed).normal(0, 0.01, 2 * count)
    return dice - dice.mean() + value / 100


def _write(folder, value, seed, test=True):
    for part in ("val", "test"):
        (folder / f"{part}.parquet").unlink()
        dice = _measured(PATIENTS, value, seed)
        columns = {"image": [f"{part}{i}" for i in range(2 * PATIENTS)]}
        columns |= {"group": [f"patient{i // 2}" for i in range(2 * PATIENTS)]}
        columns |= {"dice": dice, "iou": dice / (2 - dice)}
        if test or part == "val":
            pq.write_table(pa.table(columns), folder / OVERLAPS.format(part))


@pytest.fixture
def segmented(make_search):
    """A search of three selection seeds and three fresh ones; test=False lacks masks in test."""

    def make(test=True):
        apart = {name: (value - 0.3, value + 0.3) for name, value in DICE.items()}
        again = {name: (value - 0.4, value, value + 0.4) for name, value in DICE.items()}
        again = {name: again[name] for name in ("odc>moco", "scratch", "imagenet")}
        made = make_search(scores=DICE, best_chain="odc>moco").repeated(apart).fresh(again)
        results = []
        for place, result in enumerate(made.results):
            name = str(result.chain)
            values = (DICE[name], *apart[name], *again.get(name, ()))
            trained = (result, *result.repeats, *result.fresh)
            for k, (one, value) in enumerate(zip(trained, values, strict=True)):
                _write(made.store.path(one.downstream_key), value, 100 * place + k, test)
            score = MEASURES["dice"].score
            parts = {
                part: tuple(replace(o, score=score(*[o.score.judged.value] * 3)) for o in some)
                for part, some in (("repeats", result.repeats), ("fresh", result.fresh))
            }
            results.append(replace(result, score=score(*[DICE[name]] * 3), **parts))
        downstream = replace(made.plan.space.downstream, kind="segment", objective="dice")
        space = replace(made.plan.space, downstream=downstream)
        plan = Judged(space, MEASURES["dice"], made.plan)
        return replace(made, plan=plan, results=results)

    return make


def test_overlaps_are_resampled_by_patient(segmented):
    made = segmented()
    shown = stored.scored(made.store, made.table.row("odc>moco").downstream_key, "val")
    resamples = shown.resamples()
    dice = shown.values(resamples, "dice")
    assert (shown.rarest, resamples.groups, len(dice)) == (2 * PATIENTS, PATIENTS, 2001)
    assert dice[0] == pytest.approx(88.0)
    written = _measured(PATIENTS, 88.0, 200).reshape(PATIENTS, 2)
    rng = np.random.default_rng(1)
    drawn = [100 * written[rng.integers(0, PATIENTS, PATIENTS)].mean() for _ in range(2000)]
    assert dice[1:].std() == pytest.approx(np.std(drawn), rel=0.1)
    iou = shown.values(resamples, "iou")[0]
    assert iou == pytest.approx(100 * (written / (2 - written)).mean())


def test_chains_are_compared_by_dice(segmented):
    """What lies three points behind is told apart, whatever the noise of training."""
    table = segmented().table
    assert table.compared_on.images == 2 * PATIENTS
    assert table.training_noise is not None
    best = table.row("odc>moco")
    assert best.ci_low < 88.0 < best.ci_high
    assert {row.chain: row.could_be_best for row in table.rows} == {
        "odc>moco": True, "moco": False, "imagenet": False, "odc": False, "scratch": False,
    }  # fmt: skip
    for name in ("scratch", "imagenet"):
        row = table.row(name)
        assert row.difference == pytest.approx(DICE[name] - 88.0)
        assert row.difference_low < row.difference < row.difference_high < 0


@pytest.mark.parametrize(("test", "split"), [(True, "test"), (False, "val")])
def test_pretraining_that_pays_is_said_on_the_images_that_there_are(
    segmented, tmp_path, test, split
):
    made = segmented(test)
    summary = made.write(tmp_path)
    planned = summary["planned"]
    assert (planned["chain"], planned["start"]) == ("odc>moco", "imagenet")
    assert (planned["split"], planned["seeds"]) == (split, 3)
    assert planned["difference"]["value"] == pytest.approx(3.1)
    assert planned["difference"]["low"] > 0
    assert summary["worth_pretraining"].startswith("Yes: odc>moco")
    assert summary["headline"]
    assert bool(summary["test"]) is test
    page = (tmp_path / "report" / "index.html").read_text()
    assert ("There are no predictions on test images." in page) is not test
    assert json.loads((tmp_path / "report" / "summary.json").read_text())["compared_on"]


def test_networks_that_differ_by_luck_are_not_told_apart(segmented):
    """Chains of one true Dice, with the noise of seeds: none is left behind, none is above 0."""
    made = segmented()
    rng = np.random.default_rng(5)
    for result in made.results:
        for one in (result, *result.repeats, *result.fresh):
            folder = made.store.path(one.downstream_key)
            for part in ("val", "test"):
                columns = pq.read_table(folder / OVERLAPS.format(part))
                dice = _measured(PATIENTS, 85 + rng.normal(0, 1), rng.integers(1000))
                at = columns.column_names.index("dice")
                columns = columns.set_column(at, "dice", pa.array(dice))
                pq.write_table(columns, folder / OVERLAPS.format(part))
    table = made.table
    assert all(row.could_be_best for row in table.rows)
    for split, start in product(("val", "test"), ("scratch", "imagenet")):
        apart = verdicts.finalists(table, made.store, split).difference("odc>moco", start)
        assert apart.low < 0 < apart.high
