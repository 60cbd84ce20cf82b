"""Learning curves: how good a task's frozen features are along its training.

    curves(table, store)                       # the singles', and the best chain's later stages'
    sentence(curve)                            # "moco: 76.80 at step 0, 84.40 at step 1,760"

The probe is fitted to labelled training images and cross-validated by patient group.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from search.chains.chain import Chain, prefixes
from search.chains.lengths import SHORT, TOO_SHORT
from search.report import stored
from search.report.stored import Store
from search.report.table import Table, number


@dataclass(frozen=True)
class LearningCurve:
    """The probes of a chain's last stage. steps: where they were taken; auroc: macro, in percent.

    task: of that stage.
    """

    chain: str
    start: str
    task: str
    steps: tuple[int, ...]
    auroc: tuple[float, ...]

    @property
    def title(self) -> str:
        """The chain, and whether its stage is too short to matter."""
        return f"{self.chain} ({TOO_SHORT})" if self.steps[-1] < SHORT else self.chain


def curves(table: Table, store: Store) -> Iterator[LearningCurve]:
    """Yield the curves of all singles in the table's order, then of the best chain's later stages.

    Only of a stage that has one.
    """
    for chain, key in _stages(table, store):
        probes = stored.history(store, key).get("probes")
        if probes:
            steps = tuple(round(one["step"]) for one in probes)
            auroc = tuple(one["macro_auroc"] for one in probes)
            yield LearningCurve(str(chain), chain.start, chain.tasks[-1], steps, auroc)


def _stages(table: Table, store: Store) -> Iterator[tuple[Chain, str | None]]:
    """Yield the chain that a stage ends, and the stage's key."""
    for row in table.rows:
        if row.length == 1:
            yield row.path, row.stage_key
    if best := table.best:
        keys = stored.lineage(store, best.stage_key)
        chains = zip(prefixes(best.path), keys, strict=False)
        yield from [*chains][1:]


def sentence(curve: LearningCurve) -> str:
    """Return the curve's ends in words."""
    ends = ((curve.steps[k], number(curve.auroc[k])) for k in (0, -1))
    return f"{curve.title}: " + ", ".join(f"{value} at step {step:,}" for step, value in ends)
