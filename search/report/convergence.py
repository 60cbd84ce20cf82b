"""Whether fine-tuning was long enough: does its validation curve still rise at the end?

    trend("scratch", [[30.1, 33.0, ...], ...], merit)     # one curve a seed
    starts(table, store)                                   # a Trend each

A baseline that still rises is not yet what it could be, and a lead over it proves little.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from search.report import stored
from search.report.stored import Store
from search.report.table import SURE, Table

FEWEST = 6  # evaluations; a slope through fewer has no usable standard error


@dataclass(frozen=True)
class Trend:
    """The last third of a validation curve, or as many evaluations as a slope needs.

    epochs: those evaluations, or all if they are too few; slope, error: points an evaluation, then
    None.

    rises: whether the slope is above 0 beyond its standard error; None if it can't be told.
    """

    start: str
    epochs: int
    slope: float | None = None
    error: float | None = None
    rises: bool | None = None

    @property
    def gain(self) -> float:
        """The points that those evaluations gained, by the slope."""
        return (self.slope or 0.0) * (self.epochs - 1)


def starts(table: Table, store: Store) -> tuple[Trend, ...]:
    """Return the trend of every scored start that has curves, over the mean of its seeds."""
    found = []
    for row in table.starts:
        keys = (row.downstream_key, *row.repeat_keys, *row.fresh_keys)
        histories = [stored.history(store, key)["train"] for key in keys]
        curves = [[one["objective"] for one in h if "objective" in one] for h in histories]
        if curves := [curve for curve in curves if curve]:
            found.append(trend(row.chain, curves, table.objective.merit))
    return tuple(found)


def trend(start: str, curves: Sequence[Sequence[float]], merit: Callable[[float], float]) -> Trend:
    """Return the trend of the mean curve. curves: the objective by evaluation, one a seed."""
    mean = [merit(fmean(values)) for values in zip(*curves, strict=False)]
    last = mean[-max(len(mean) // 3, FEWEST) :]
    if len(mean) < 2 * FEWEST:
        return Trend(start, len(mean))
    from scipy.stats import linregress

    line = linregress(range(len(last)), last, alternative="greater")
    slope, error = float(line.slope), float(line.stderr)
    return Trend(start, len(last), slope, error, slope > 0 and float(line.pvalue) < SURE)
