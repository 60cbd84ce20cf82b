"""The tracker's points of a chain: names, values and steps."""

from dataclasses import replace

from search.report import points, stored
from tests.measures import BALANCED
from trainables.downstream.measures import MEASURES


def test_a_chains_metrics_are_at_the_number_of_its_repeats(search):
    once = search.table.best
    told = {name: (value, step) for name, value, step in points.chain_metrics(once)}
    assert told["balanced_accuracy"] == (once.score, 0)
    assert told["ci_low"] == (once.ci_low, 0)
    score = once.score
    thrice = search.repeated({once.chain: [score + 1, score + 2]}).table.row(once.chain)
    again = {name: (value, step) for name, value, step in points.chain_metrics(thrice)}
    assert again["balanced_accuracy"] == (score + 1, 2)
    assert {step for _, step in again.values()} == {2}


def test_every_measure_is_told_under_a_name_that_the_tracker_takes(search):
    measures = MEASURES["ece"].score(9.0, 8.0, 10.0).measures
    odd = {"sensitivity/naïve: 50 % <b>/..": measures["ece"]}
    row = replace(search.table.best, measures=measures | odd)
    told = {name for name, _, _ in points.chain_metrics(row)}
    assert {"ece", "sensitivity/naïve: 50 _ _b__.."} <= told


def test_what_has_no_number_is_not_told(search):
    scratch = search.table.row("scratch")
    assert scratch.delta is None
    assert "delta" not in {name for name, _, _ in points.chain_metrics(scratch)}


def test_a_control_is_told_at_the_end_of_its_stage(search, monkeypatch):
    best = search.table.best
    assert not any("control" in name for name, *_ in points.curves(best, search.store, "x"))
    known = {"steps": 3000, "controlled_accuracy": 0.4, "control_accuracy": 0.3}
    monkeypatch.setattr(stored, "result", lambda *_: known)
    told = [*points.curves(best, search.store, "x")]
    place = f"stage_{best.length}_{best.tasks[-1]}"
    assert (f"{place}_controlled_accuracy", 0.4, 3000) in told
    assert (f"{place}_control_accuracy", 0.3, 3000) in told


def test_curves_are_told_by_step(search):
    best = search.table.best
    told = list(points.curves(best, search.store, BALANCED.name))
    names = {name for name, _, _ in told}
    last = best.tasks[-1]
    assert {f"stage_{best.length}_{last}_loss", "finetune_loss"} <= names
    for name in names:
        steps = [step for other, _, step in told if other == name]
        assert steps == sorted(steps)
        assert len(set(steps)) == len(steps)
