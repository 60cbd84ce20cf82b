"""Values of the page that have to be computed: bars, measures, chains without a score."""

from typing import NamedTuple

from search.report.table import Table
from trainables.spec import Measure

Unscored = dict[tuple[str, str], list[str]]


class Bar(NamedTuple):
    """An interval and its score on a scale from 0 to 100, the same in all rows."""

    low: float
    high: float
    score: float


def bars(table: Table) -> dict[str, Bar]:
    """Return a bar for every scored chain."""
    start = min((row.ci_low or 0 for row in table.scored), default=0.0)
    end = max((row.ci_high or 0 for row in table.scored), default=1.0)
    scale = 100 / max(end - start, 1e-9)
    found = {}
    for row in table.scored:
        ends = row.ci_low, row.ci_high, row.score
        found[row.chain] = Bar(*(scale * ((value or 0) - start) for value in ends))
    return found


def measured(table: Table) -> dict[str, dict[str, Measure]]:
    """Return measure -> chain -> its value, of the winner and the baselines."""
    found: dict[str, dict[str, Measure]] = {}
    for row in table.finalists:
        for name, one in row.measures.items():
            found.setdefault(name, {})[row.chain] = one
    return found


def unscored(table: Table) -> Unscored:
    """Return status and reason -> the chains that have no score for it."""
    found: Unscored = {}
    for row in table.rows:
        if row.score is None and not row.is_baseline:
            found.setdefault((row.status, row.reason), []).append(row.chain)
    return found
