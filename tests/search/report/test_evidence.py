"""Test scores, paired gains, and what explains the published scores."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from search.report import evidence, stored
from search.report import table as tables


def test_last_task_explains_more_than_the_label(search: Any) -> None:
    shares = evidence.explained(tables.build(search.results, search.store))
    assert shares is not None
    assert (round(shares["last_task"]), round(shares["label"])) == (86, 13)


def test_too_few_chains_explain_nothing(search: Any) -> None:
    small = search.only("odc", "moco", "odc>moco", "moco>odc")
    assert evidence.explained(tables.build(small.results, small.store)) is None


def test_held_out_is_for_winner_and_baselines_only(search: Any) -> None:
    table = tables.build(search.results, search.store)
    found = evidence.held_out(table, search.store)
    assert set(found) == {"odc>moco", "imagenet", "scratch"}
    assert table.best is not None
    shown = stored.predictions(search.store, table.best.downstream_key, "test")
    assert shown is not None
    expected = 100 * balanced_accuracy_score(shown.labels, shown.predicted)
    assert found["odc>moco"].value == pytest.approx(expected)
    assert found["odc>moco"].low < expected < found["odc>moco"].high


def test_gain_is_paired(search: Any) -> None:
    table = tables.build(search.results, search.store)
    gain = evidence.gain(table, search.store, "scratch", "val")
    assert gain is not None
    assert 0 < gain.low < gain.value < gain.high
    best = table.best
    assert best is not None
    itself = replace(best, chain="scratch", label="baseline")
    same = evidence.gain(tables.Table((best, itself)), search.store, "scratch", "val")
    assert same == evidence.Estimate(0.0, 0.0, 0.0)


def test_no_gain_over_what_was_not_run(search: Any) -> None:
    small = search.without("not run", "no weights", "imagenet")
    table = tables.build(small.results, small.store)
    assert evidence.gain(table, small.store, "imagenet", "val") is None
    assert "imagenet" not in evidence.held_out(table, small.store)


def test_predictions_take_the_highest_probability(search: Any) -> None:
    table = tables.build(search.results, search.store)
    assert table.best is not None
    shown = stored.predictions(search.store, table.best.downstream_key, "val")
    assert shown is not None
    assert shown.predicted.shape == shown.labels.shape == (400,)
    assert 0.6 < np.mean(shown.predicted == shown.labels) < 0.9
