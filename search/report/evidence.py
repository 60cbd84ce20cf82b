"""How far the result can be believed: test images, paired differences, what explains the scores.

The winner was selected on validation, so its validation score is a little too good. The test
images are looked at here only, for the winner and the baselines. Differences are paired: both
chains are scored on the same resampled groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from search.report import stored
from search.report.stored import Predictions, Store
from search.report.table import Row, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEW = 6  # chains; below that a share of variance is noise
Split = Literal["val", "test"]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, in percent or percentage points."""

    value: float
    low: float
    high: float


def held_out(table: Table, store: Store) -> dict[str, Estimate]:
    """Chain -> balanced accuracy on the test images, of the winner and the scored baselines."""
    rows = [row for row in table.scored if row.is_baseline or row == table.best]
    found = {row.chain: _score(store, row) for row in rows}
    return {chain: estimate for chain, estimate in found.items() if estimate}


def gain(table: Table, store: Store, baseline: str, split: Split) -> Estimate | None:
    """The winner's accuracy minus the baseline's on the same images; None if one has no score."""
    other = table.row(baseline)
    if table.best is None or other is None or other.balanced_accuracy is None:
        return None
    ours = stored.predictions(store, table.best.downstream_key, split)
    theirs = stored.predictions(store, other.downstream_key, split)
    if ours is None or theirs is None:
        return None
    value = _accuracy(ours) - _accuracy(theirs)
    return Estimate(value, *_interval(_resampled(ours) - _resampled(theirs)))


def explained(table: Table) -> dict[str, float] | None:
    """Share of the variance of the longer chains' scores, in percent, by last task and by label.

    Eta squared of each factor alone. None where a factor has one value, or chains are too few.
    """
    rows = [row for row in table.scored if row.length > 1]
    scores = [row.balanced_accuracy for row in rows if row.balanced_accuracy is not None]
    lasts, labels = [row.tasks[-1] for row in rows], [row.label for row in rows]
    values = (len(set(lasts)), len(set(labels)))
    if len(rows) < max(FEW, 2 * max(values)) or min(values) < 2:
        return None
    if len(set(scores)) < 2 or not all(labels):
        return None
    return {"last_task": _eta_squared(scores, lasts), "label": _eta_squared(scores, labels)}


def _eta_squared(values: Sequence[float], groups: Sequence[str]) -> float:
    mean = fmean(values)
    total = sum((value - mean) ** 2 for value in values)
    members = [[v for v, g in zip(values, groups, strict=True) if g == one] for one in set(groups)]
    return 100 * sum(len(some) * (fmean(some) - mean) ** 2 for some in members) / total


def _score(store: Store, row: Row) -> Estimate | None:
    shown = stored.predictions(store, row.downstream_key, "test")
    return Estimate(_accuracy(shown), *_interval(_resampled(shown))) if shown else None


def _accuracy(shown: Predictions) -> float:
    from trainables.downstream.metrics import balanced_accuracy

    return balanced_accuracy(shown.labels, shown.predicted, len(shown.classes))


def _resampled(shown: Predictions) -> "NDArray[np.float64]":
    """Equal groups give equal draws, so two chains' values are paired."""
    from trainables.downstream.metrics import bootstrap_scores

    return bootstrap_scores(shown.labels, shown.predicted, shown.groups, len(shown.classes))


def _interval(values: "NDArray[np.float64]") -> tuple[float, float]:
    import numpy as np

    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
