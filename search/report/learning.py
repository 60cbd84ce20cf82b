"""Learning curves: how good a task's frozen features are along its training.

    curves(table, store)                       # one a task and start
    sentence(curve)                            # "moco: 76.80 at step 0, 84.40 at step 1,760"

The probe is fitted to labelled training images and cross-validated by patient group.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from search.chains.lengths import SHORT, TOO_SHORT
from search.report import stored
from search.report.stored import Store
from search.report.table import Table, number


@dataclass(frozen=True)
class LearningCurve:
    """A single's probes. steps: where they were taken; auroc: macro, in percent."""

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
    """Yield the curve of every single that has one, in the table's order."""
    for row in (row for row in table.rows if row.length == 1):
        probes = stored.history(store, row.stage_key).get("probes")
        if probes:
            steps = tuple(round(one["step"]) for one in probes)
            auroc = tuple(one["macro_auroc"] for one in probes)
            yield LearningCurve(row.chain, row.start, row.tasks[0], steps, auroc)


def sentence(curve: LearningCurve) -> str:
    """Return the curve's ends in words."""
    ends = ((curve.steps[k], number(curve.auroc[k])) for k in (0, -1))
    return f"{curve.title}: " + ", ".join(f"{value} at step {step:,}" for step, value in ends)
