"""The evidence: every chain compared with the winner, and the finalists on test images.

    table = compare(tables.build(results, store), store)    # fills in difference, p_value, tied

Comparisons are paired: all chains are scored on the same resampled patient groups. With repeats, a
chain's score is its mean over seeds, and the noise of training is part of every interval and
comparison. The winner was selected on validation, so its validation score is a little too high.
Test images are used here only, for the winner and the baselines.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from search.report import stored
from search.report.stored import Store
from search.report.table import SURE, Images, Row, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Split = Literal["val", "test"]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, in percent or percentage points."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scored:
    """Chains scored on one split: accuracies [chains]; resampled [chains, resamples], paired.

    training_noise: see `Table`.
    """

    chains: tuple[str, ...]
    accuracies: "NDArray[np.float64]"
    resampled: "NDArray[np.float64]"
    on: Images
    training_noise: float | None

    def estimate(self, chain: str) -> Estimate:
        place = self.chains.index(chain)
        return _estimate(self.accuracies[place], self.resampled[place])

    def difference(self, chain: str, other: str) -> Estimate | None:
        """Return the chain's accuracy minus the other's; None if one has no predictions."""
        if not {chain, other} <= set(self.chains):
            return None
        a, b = self.chains.index(chain), self.chains.index(other)
        return _estimate(
            self.accuracies[a] - self.accuracies[b], self.resampled[a] - self.resampled[b]
        )


def on_split(rows: Iterable[Row], store: Store, split: Split) -> Scored | None:
    """Score the rows that have predictions on the split, in percent; None if none has."""
    import numpy as np

    from search.report.statistics.inference import training_noise
    from trainables.downstream.metrics import GroupBootstrap, balanced_accuracy

    resamples: GroupBootstrap | None = None
    accuracies: dict[str, list[float]] = {}
    resampled = []
    for row in rows:
        keys = (row.downstream_key, *row.repeat_keys)
        shown = [s for key in keys if (s := stored.predictions(store, key, split)) is not None]
        for one in shown:
            classes = len(one.classes)
            resamples = resamples or GroupBootstrap(one.labels, one.groups, classes)
            assert np.array_equal(one.labels, resamples.labels), row.chain  # one data set
            accuracy = balanced_accuracy(one.labels, one.predicted, classes)
            accuracies.setdefault(row.chain, []).append(accuracy)
        if shown:
            assert resamples is not None
            resampled.append(np.mean([resamples.scores(one.predicted) for one in shown], axis=0))
    if resamples is None:
        return None
    counts = np.bincount(resamples.labels)
    on = Images(len(resamples.labels), resamples.groups, int(counts[counts > 0].min()))
    seeds = list(accuracies.values())
    std, noise = training_noise(seeds, len(resampled[0]))
    means = np.array([np.mean(some) for some in seeds])
    return Scored(tuple(accuracies), means, np.stack(resampled) + noise, on, std)


def compare(table: Table, store: Store) -> Table:
    """Return the table with every scored row compared with the winner on validation."""
    scored = on_split(table.scored, store, "val")
    if table.best is None or scored is None or table.best.chain not in scored.chains:
        return table
    from search.report.statistics.inference import against

    winner = table.best.chain
    p_values = against(scored.accuracies, scored.resampled, scored.chains.index(winner))
    known = dict(zip(scored.chains, p_values.tolist(), strict=True))
    rows = [
        _compared(row, scored, winner, known[row.chain]) if row.chain in known else row
        for row in table.rows
    ]
    return Table(tuple(rows), scored.on, scored.training_noise)


def finalists(table: Table, store: Store) -> Scored | None:
    """Score the winner and the baselines on the test images."""
    rows = [row for row in table.scored if row.is_baseline or row == table.best]
    return on_split(rows, store, "test")


def _compared(row: Row, scored: Scored, winner: str, p_value: float) -> Row:
    """Return the row compared with the winner; training noise widens its own interval too."""
    difference, own = scored.difference(row.chain, winner), scored.estimate(row.chain)
    assert difference is not None
    noisy = scored.training_noise is not None
    return replace(
        row,
        ci_low=own.low if noisy else row.ci_low,
        ci_high=own.high if noisy else row.ci_high,
        difference=difference.value,
        difference_low=difference.low,
        difference_high=difference.high,
        p_value=p_value,
        tied=p_value >= SURE,
    )


def _estimate(value: float, resampled: "NDArray[np.float64]") -> Estimate:
    from trainables.downstream.metrics import interval

    return Estimate(float(value), *interval(resampled))
