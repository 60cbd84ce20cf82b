"""The course of a search: the best score so far against the cost so far.

course(table, store)[-1].regret == 0
"""

from dataclasses import dataclass

from search.report import stored
from search.report.stored import Store
from search.report.table import Table


@dataclass(frozen=True)
class Step:
    """The state after one chain was scored.

    stages, seconds: the cost so far, shared prefixes counted once; seconds include scoring.
    stages_alone: the stages if every chain were trained on its own. missing, regret: points from
    the best chain's score to this chain's, and to the highest so far. The former is negative for a
    chain that scored above the best chain, which the policy doesn't choose by score alone.
    """

    chain: str
    stages: int
    stages_alone: int
    seconds: float | None
    missing: float
    regret: float


def course(table: Table, store: Store) -> tuple[Step, ...]:
    """Return a step for every scored chain in order; () if the order is unknown."""
    rows = [row for row in table.chains if row.order is not None]
    steps: list[Step] = []
    stages: set[str] = set()
    alone = 0
    seconds: float | None = 0.0
    known = table.merit(table.best)
    for row in sorted(rows, key=lambda row: row.order or 0):
        own = table.merit(row)
        assert own is not None
        assert known is not None
        fresh = [key for key in stored.lineage(store, row.stage_key) if key not in stages]
        stages.update(fresh)
        cost = [stored.result(store, key).get("seconds") for key in (*fresh, row.downstream_key)]
        measured = [one for one in cost if one is not None]
        seconds = seconds + sum(measured) if seconds is not None and measured == cost else None
        alone += row.length
        missing = known - own
        regret = max(min(missing, steps[-1].regret) if steps else missing, 0.0)
        steps.append(Step(row.chain, len(stages), alone, seconds, missing, regret))
    return tuple(steps)
