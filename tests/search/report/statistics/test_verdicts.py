"""The winner against every other chain, and the one look at the test images."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from search.report import rows, stored, summary
from search.report.statistics import verdicts
from search.report.table import Row, Table
from tests.measures import BALANCED


def _predictions(store: Any, row: Row | None, split: Any = "val") -> stored.Predictions:
    assert row is not None
    shown = stored.predictions(store, row.downstream_key, split)
    assert shown is not None
    return shown


def test_every_scored_row_is_compared_with_the_winner(compared: Table) -> None:
    for row in compared.scored:
        assert row.difference is not None
        assert row.difference_low is not None
        assert row.difference_high is not None
        assert row.difference_low <= row.difference <= row.difference_high
        assert row.difference == pytest.approx((row.score or 0) - 75.44, abs=0.1)
        assert row.tied == (row.p_value is not None and row.p_value >= 0.05)
    best = compared.best
    assert best is not None
    assert (best.difference, best.p_value, best.tied) == (0, 1, True)


def test_difference_is_the_brute_force_paired_bootstrap(search: Any, compared: Table) -> None:
    best, other = compared.best, compared.row("moco>odc")
    ours, theirs = _predictions(search.store, best), _predictions(search.store, other)
    assert other is not None
    members = [np.flatnonzero(ours.groups == group) for group in np.unique(ours.groups)]
    rng, drawn = np.random.default_rng(9), []
    for _ in range(400):
        some = np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])
        drawn.append(
            100 * balanced_accuracy_score(theirs.labels[some], theirs.predicted[some])
            - 100 * balanced_accuracy_score(ours.labels[some], ours.predicted[some])
        )
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert (other.difference_low, other.difference_high) == pytest.approx((low, high), abs=0.4)


def test_tied_chains_and_the_cheapest_of_them(compared: Table) -> None:
    tied_rows = compared.tied
    tied = [row.chain for row in tied_rows]
    assert tied[0] == "odc>moco"
    assert "moco" in tied
    assert not {"scratch", "imagenet", "odc"} & set(tied)
    assert compared.cheapest is not None
    assert compared.cheapest.chain == "moco"
    close = [
        replace(row, stage_seconds=95.0 if row.chain == "moco" else 100.0) for row in tied_rows
    ]
    assert Table(tuple(close), BALANCED).cheapest == close[0], "a few seconds are no saving"
    untimed = Table(tuple(replace(row, stage_seconds=None) for row in compared.rows), BALANCED)
    assert untimed.cheapest is not None
    assert untimed.cheapest.chain == "moco", "the fewest stages"


def test_nothing_to_compare_is_no_verdict(search: Any) -> None:
    table = rows.build(search.results, search.store, BALANCED)
    bare = Table(tuple(replace(row, downstream_key=None) for row in table.rows), BALANCED)
    assert verdicts.compare(bare, search.store) == bare
    assert bare.tied == ()
    assert bare.cheapest is None
    assert verdicts.compare(Table((), BALANCED), search.store) == Table((), BALANCED)


def test_held_out_is_for_winner_and_baselines_only(search: Any, compared: Table) -> None:
    found = verdicts.finalists(compared, search.store)
    assert found is not None
    assert set(found.chains) == {"odc>moco", "imagenet", "scratch"}
    shown = _predictions(search.store, compared.best, "test")
    expected = 100 * balanced_accuracy_score(shown.labels, shown.predicted)
    estimate = found.estimate("odc>moco")
    assert estimate.value == pytest.approx(expected)
    assert estimate.low < expected < estimate.high
    assert (found.on.images, found.on.groups) == (1200, 600)
    assert found.on.rarest == np.bincount(shown.labels).min()


def test_gain_is_paired(search: Any, compared: Table) -> None:
    found = verdicts.finalists(compared, search.store)
    assert found is not None
    assert found.difference("odc>moco", "odc>moco") == verdicts.Estimate(0.0, 0.0, 0.0)
    assert found.difference("odc>moco", "never tried") is None
    gain = summary.build(compared, search.info, search.store).gains["scratch"]
    scratch = compared.row("scratch")
    assert scratch is not None
    assert gain.val is not None
    assert gain.test is not None
    assert gain.val.value == -(scratch.difference or 0)
    assert 0 < gain.val.low < gain.val.value < gain.val.high
    assert 0 < gain.test.low < gain.test.value < gain.test.high


def test_no_gain_over_what_was_not_run(search: Any) -> None:
    small = search.without("not run", "no weights", "imagenet")
    table = verdicts.compare(rows.build(small.results, small.store, BALANCED), small.store)
    made = summary.build(table, small.info, small.store)
    assert made.gains["imagenet"] == summary.Gain(None, None)
    assert "imagenet" not in made.test


def test_predictions_take_the_highest_probability(search: Any, compared: Table) -> None:
    shown = _predictions(search.store, compared.best)
    assert shown.predicted.shape == shown.labels.shape == (2400,)
    assert 0.6 < np.mean(shown.predicted == shown.labels) < 0.9


def test_repeated_chains_stand_at_the_mean_of_their_seeds(repeated: Any) -> None:
    table = repeated.table
    assert table.best.chain == "relative_location>odc>moco"
    assert table.best.score == pytest.approx((75.0 + 74.6 + 75.6) / 3)
    assert table.score("odc>moco") == pytest.approx((75.44 + 73.0 + 73.6) / 3)
    assert table.row("odc>moco").knn == pytest.approx((63.44 + 61.0 + 61.6) / 3)
    assert [len(row.seed_scores) for row in table.scored].count(3) == 5


def test_training_again_widens_intervals_and_comparisons(search: Any, repeated: Any) -> None:
    once, again = search.table, repeated.table
    assert (once.training_noise, round(again.training_noise, 1)) == (None, 0.9)
    for name in ("odc", "relative_location>odc"):
        assert _width(again.row(name)) > _width(once.row(name))
        assert again.row(name).p_value > once.row(name).p_value
    left, right = again.row("odc"), again.row("moco")
    assert _width(left) > _width(right)  # three seeds say more than one


def test_test_images_are_scored_by_every_seed(repeated: Any) -> None:
    table = repeated.table
    found = verdicts.finalists(table, repeated.store)
    assert found is not None
    shown = [
        stored.predictions(repeated.store, key, "test")
        for key in (table.best.downstream_key, *table.best.repeat_keys)
    ]
    means = [100 * balanced_accuracy_score(one.labels, one.predicted) for one in shown]
    assert found.estimate(table.best.chain).value == pytest.approx(np.mean(means))


def _width(row: Row) -> float:
    return (row.ci_high or 0) - (row.ci_low or 0)
