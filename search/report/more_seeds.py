"""What more seeds would cost, at the rates that this search measured.

cost(table, 3).stages
"""

from collections.abc import Sequence
from dataclasses import dataclass

from search.chains.chain import stages_shared
from search.report.table import Row, Table
from search.scheduling.repeats import schedule


@dataclass(frozen=True)
class Cost:
    """Stages, scores and seconds of one worker beyond those of this search; None if not timed."""

    stages: int
    scores: int
    seconds: float | None


def cost(table: Table, repeats: int) -> Cost:
    """Return the cost of the same search with this many seeds, where this one had one."""
    known = [row.path for row in table.chains]
    rounds = [known[:count] for count in schedule(len(known), repeats)]
    fresh = [known[:1]] * (repeats - 1)  # of the best chain and of all starts; one has one already
    stages = sum(map(stages_shared, (*rounds, *fresh)))
    again = 2 * len(table.starts) * (repeats - 1)
    scores = sum(map(len, (*rounds, *fresh))) + again
    stage, score = _rates(table.scored)
    seconds = None if stage is None or score is None else stages * stage + scores * score
    return Cost(stages, scores, seconds)


def _rates(rows: Sequence[Row]) -> tuple[float | None, float | None]:
    """Return the mean seconds of a stage and of a score; None where none was timed."""
    timed = [
        (row.length, row.stage_seconds or 0.0, row.train_seconds)
        for row in rows
        if row.train_seconds is not None and (row.stage_seconds is not None or not row.length)
    ]
    stages = sum(length for length, _, _ in timed)
    trained = sum(stage for _, stage, _ in timed)
    scored = sum(whole - stage for _, stage, whole in timed)
    return trained / stages if stages else None, scored / len(timed) if timed else None
