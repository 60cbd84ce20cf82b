"""Factors of a good chain: its last task, its label, the order of its singles' scores.

    factors(table), correlations(table)

Computed over the scored chains of two or more tasks. The p-values are from permutations of the
scores. They are not corrected, and chains that share a prefix are not independent, so they describe
this search only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

from search.report.table import Row, Table
from trainables.spec import MeasureType

if TYPE_CHECKING:
    from search.report.statistics.inference import Effect

FEW = 6  # chains; with fewer, an explained variance or a correlation is noise
RISE, LEVEL, LAST = "rise", "mean_single", "last_single"


@dataclass(frozen=True)
class Level:
    """One value of a factor: the chains that have it and their mean score."""

    name: str
    chains: int
    mean: float


@dataclass(frozen=True)
class Factor:
    """A factor with its effect, eta squared in 0..1; None if all are equal or too few."""

    name: str
    levels: list[Level]
    effect: "Effect | None"


@dataclass(frozen=True)
class Correlation:
    """Spearman's correlation of scores with a measure of the singles; None if unknown."""

    measure: str
    chains: int
    effect: "Effect | None"


def factors(table: Table) -> tuple[Factor, ...]:
    """Return the factors last task and label, each with its best level first."""
    rows = [row for row in _longer(table) if row.label]
    return (
        _factor("last_task", rows, [row.tasks[-1] for row in rows], table.objective),
        _factor("label", rows, [row.label for row in rows], table.objective),
    )


def correlations(table: Table) -> tuple[Correlation, ...]:
    """Correlate scores with the rise of the singles along the chain, their mean, the last.

    The rise does not depend on the set of tasks: its mean over all their orders is 0.
    """
    singles = {row.path: row.score for row in table.scored if row.length == 1}
    known = {chain: score for chain, score in singles.items() if score is not None}
    alone = {row.chain: [*map(row.path.single, row.tasks)] for row in _longer(table)}
    rows = [row for row in _longer(table) if known.keys() >= {*alone[row.chain]}]
    own = [[known[single] for single in alone[row.chain]] for row in rows]
    values = {RISE: [*map(rise, own)], LEVEL: [*map(fmean, own)], LAST: [some[-1] for some in own]}
    return tuple(_correlation(measure, rows, some) for measure, some in values.items())


def rise(singles: Sequence[float]) -> float:
    """Return Kendall's tau of a chain's singles in its order: 1 if they rise, -1 if they fall."""
    steps = [b - a for a, b in combinations(singles, 2)]
    return sum((step > 0) - (step < 0) for step in steps) / len(steps)


def _longer(table: Table) -> list[Row]:
    return [row for row in table.scored if row.length > 1]


def _scores(rows: list[Row]) -> list[float]:
    return [row.score for row in rows if row.score is not None]


def _factor(name: str, rows: list[Row], of: list[str], objective: MeasureType) -> Factor:
    from search.report.statistics.inference import eta_squared

    scores = _scores(rows)
    members = {one: [s for s, o in zip(scores, of, strict=True) if o == one] for one in set(of)}
    levels = [Level(one, len(some), fmean(some)) for one, some in members.items()]
    enough = len(rows) >= max(FEW, 2 * len(levels))
    effect = eta_squared(scores, of) if enough else None
    levels.sort(key=lambda level: (-objective.merit(level.mean), level.name))
    return Factor(name, levels, effect)


def _correlation(measure: str, rows: list[Row], values: list[float]) -> Correlation:
    from search.report.statistics.inference import spearman

    effect = spearman(_scores(rows), values) if len(rows) >= FEW else None
    return Correlation(measure, len(rows), effect)
