"""What goes with a good chain: its last task, its label, the order of its singles' accuracies.

    factors(table), correlations(table)

Over the scored chains of two or more tasks. The p-values ask how often chance alone would do as
well if every chain could as well have had any other's score; they are not corrected, and chains
that share a prefix are not independent, so they describe this search and prove no law.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

from search.chains.chain import Chain
from search.report.table import Row, Table

if TYPE_CHECKING:
    from search.report.statistics.inference import Effect

FEW = 6  # chains; below that a share of variance or a correlation is noise
RISE, LEVEL, LAST = "rise", "mean_single", "last_single"


@dataclass(frozen=True)
class Level:
    """One value of a factor: the chains that have it and their mean score."""

    name: str
    chains: int
    mean: float


@dataclass(frozen=True)
class Factor:
    """Eta squared in 0..1; effect None: all alike, or too few chains to tell."""

    name: str
    levels: list[Level]
    effect: "Effect | None"


@dataclass(frozen=True)
class Correlation:
    """Spearman's, of the chains' scores with a measure of their singles; None: can't be told."""

    measure: str
    chains: int
    effect: "Effect | None"


def factors(table: Table) -> tuple[Factor, ...]:
    """By last task and by label, each alone; the best level first."""
    rows = [row for row in _longer(table) if row.label]
    return (
        _factor("last_task", rows, [row.tasks[-1] for row in rows]),
        _factor("label", rows, [row.label for row in rows]),
    )


def correlations(table: Table) -> tuple[Correlation, ...]:
    """Of the score with how the singles rise along the chain, their mean, and the last one's.

    The rise is free of which tasks a chain has: over all orders of the same tasks its mean is 0.
    """
    singles = {row.tasks[0]: row.balanced_accuracy for row in table.scored if row.length == 1}
    known = {task: accuracy for task, accuracy in singles.items() if accuracy is not None}
    rows = [row for row in _longer(table) if known.keys() >= set(row.tasks)]
    values = {
        RISE: [rise(row.tasks, known) for row in rows],
        LEVEL: [fmean(known[task] for task in row.tasks) for row in rows],
        LAST: [known[row.tasks[-1]] for row in rows],
    }
    return tuple(_correlation(measure, rows, some) for measure, some in values.items())


def rise(chain: Chain, singles: Mapping[str, float]) -> float:
    """1 if the singles' accuracies rise all along the chain, -1 if they fall; Kendall's tau."""
    steps = [singles[b] - singles[a] for a, b in combinations(chain, 2)]
    return sum((step > 0) - (step < 0) for step in steps) / len(steps)


def _longer(table: Table) -> list[Row]:
    return [row for row in table.scored if row.length > 1]


def _scores(rows: list[Row]) -> list[float]:
    return [row.balanced_accuracy for row in rows if row.balanced_accuracy is not None]


def _factor(name: str, rows: list[Row], of: list[str]) -> Factor:
    from search.report.statistics.inference import eta_squared

    scores = _scores(rows)
    members = {one: [s for s, o in zip(scores, of, strict=True) if o == one] for one in set(of)}
    levels = [Level(one, len(some), fmean(some)) for one, some in members.items()]
    enough = len(rows) >= max(FEW, 2 * len(levels))
    effect = eta_squared(scores, of) if enough else None
    return Factor(name, sorted(levels, key=lambda level: (-level.mean, level.name)), effect)


def _correlation(measure: str, rows: list[Row], values: list[float]) -> Correlation:
    from search.report.statistics.inference import spearman

    effect = spearman(_scores(rows), values) if len(rows) >= FEW else None
    return Correlation(measure, len(rows), effect)
