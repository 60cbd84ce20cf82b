"""The LR policy: every rate trains briefly from one start and seed; the best score wins.

A rate that diverged loses. A winner on the edge of the range is flagged, since the best rate may
lie outside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainables.errors import StageFailed


@dataclass(frozen=True)
class Trial:
    """One rate's short run; score None: it diverged, for the reason given."""

    lr: float
    score: float | None
    loss: list[float] = field(default_factory=list)  # a value every `log_every` steps
    reason: str = ""

    @property
    def diverged(self) -> bool:
        return self.score is None


def choose(trials: Sequence[Trial]) -> int:
    """The position of the best trial; the lower rate wins a tie."""
    scores = [-math.inf if trial.score is None else trial.score for trial in trials]
    if all(trial.diverged for trial in trials):
        rates = ", ".join(f"{trial.lr:g}" for trial in trials)
        raise StageFailed(f"every rate of the range failed ({rates}): {trials[0].reason}")
    return scores.index(max(scores))


def at_edge(position: int, rates: Sequence[float]) -> bool:
    return len(rates) > 1 and position in (0, len(rates) - 1)
