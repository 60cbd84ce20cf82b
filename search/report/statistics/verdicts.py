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
    """Chains scored on one split: scores [chains]; resampled [chains, resamples], paired.

    training_noise: see `Table`.
    """

    chains: tuple[str, ...]
    scores: "NDArray[np.float64]"
    resampled: "NDArray[np.float64]"
    on: Images
    training_noise: float | None

    def estimate(self, chain: str) -> Estimate:
        place = self.chains.index(chain)
        return _estimate(self.scores[place], self.resampled[place])

    def difference(self, chain: str, other: str) -> Estimate | None:
        """Return the chain's score minus the other's; None if one has no predictions."""
        if not {chain, other} <= set(self.chains):
            return None
        a, b = self.chains.index(chain), self.chains.index(other)
        return _estimate(self.scores[a] - self.scores[b], self.resampled[a] - self.resampled[b])


def on_split(rows: Iterable[Row], store: Store, split: Split, measure: str) -> Scored | None:
    """Score the rows that have predictions on the split by a measure; None if none has."""
    import numpy as np

    from search.report.statistics.inference import training_noise
    from trainables.downstream.measures import Judged
    from trainables.downstream.metrics import GroupBootstrap

    resamples: GroupBootstrap | None = None
    scores: dict[str, list[float]] = {}
    resampled = []
    for row in rows:
        keys = (row.downstream_key, *row.repeat_keys)
        shown = [s for key in keys if (s := stored.predictions(store, key, split)) is not None]
        seeds = []
        for one in shown:
            resamples = resamples or GroupBootstrap(one.labels, one.groups, len(one.classes))
            assert np.array_equal(one.labels, resamples.labels), row.chain  # one data set
            seeds.append(Judged(resamples, one.probabilities).values(measure))
        if seeds:
            scores[row.chain] = [float(values[0]) for values in seeds]
            resampled.append(np.mean(seeds, axis=0)[1:])
    if resamples is None:
        return None
    counts = np.bincount(resamples.labels)
    on = Images(len(resamples.labels), resamples.groups, int(counts[counts > 0].min()))
    std, noise = training_noise([*scores.values()], len(resampled[0]))
    means = np.array([np.mean(some) for some in scores.values()])
    return Scored(tuple(scores), means, np.stack(resampled) + noise, on, std)


def compare(table: Table, store: Store) -> Table:
    """Return the table with every scored row compared with the winner on validation."""
    scored = on_split(table.scored, store, "val", table.objective.name)
    if table.best is None or scored is None or table.best.chain not in scored.chains:
        return table
    from search.report.statistics.inference import against

    winner = table.best.chain
    p_values = against(scored.scores, scored.resampled, scored.chains.index(winner))
    known = dict(zip(scored.chains, p_values.tolist(), strict=True))
    rows = [
        _compared(row, scored, winner, known[row.chain]) if row.chain in known else row
        for row in table.rows
    ]
    return replace(
        table, rows=tuple(rows), compared_on=scored.on, training_noise=scored.training_noise
    )


def finalists(table: Table, store: Store) -> Scored | None:
    """Score the winner and the baselines on the test images."""
    return on_split(table.finalists, store, "test", table.objective.name)


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
