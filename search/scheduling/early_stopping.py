"""Early stopping: end a fine-tuning whose best plausible finish is behind the leader. Pure.

    ceiling(41.0, 4, curves)                            # 46.5: no curve has gained more than 5.5
    judge(41.0, 4, 10, curves, ("moco", 52.3), 2.0)     # a Stop: 46.5 + 2.0 is below 52.3

A curve is the merit of the objective on validation (see `Measure`) after each epoch of a
fine-tuning's full run. `scheduler.py` has the curves, `engine.py` asks after every epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainables.spec import MeasureType, Score

CURVES = 3  # finished curves needed to judge how much another may still gain
GRACE = 1 / 3  # fraction of the epochs in which nothing is stopped


@dataclass(frozen=True)
class Stop:
    """A fine-tuning ended early. best: its objective so far; ceiling: the best it could reach."""

    epoch: int
    epochs: int  # of the whole run
    best: float
    ceiling: float
    reason: str

    def score(self, objective: MeasureType) -> Score:
        """Return best to ceiling as a score for the policy, which may still extend the chain."""
        return objective.score(self.best, *sorted((self.best, self.ceiling)))


def ceiling(best: float, epoch: int, curves: Sequence[Sequence[float]]) -> float:
    """Return the best so far plus the largest gain of a finished curve after this epoch."""
    return best + max(max(curve) - max(curve[:epoch]) for curve in curves)


def judge(
    best: float,
    epoch: int,
    epochs: int,
    curves: Sequence[Sequence[float]],
    incumbent: tuple[str, float],
    margin: float,
    objective: MeasureType,
) -> Stop | None:
    """Return a Stop if ceiling + margin is below the incumbent's score, else None.

    best, curves: merits; margin: in points of it; incumbent: (chain, merit).
    """
    if len(curves) < CURVES or not GRACE * epochs < epoch < epochs:
        return None
    most = ceiling(best, epoch, curves)
    name, score = incumbent
    if most + margin >= score:
        return None
    best, most, score = map(objective.merit, (best, most, score))
    reason = (
        f"after epoch {epoch} of {epochs} at {best:.2f}: at best {most:.2f} by the gains of the "
        f"other curves, {name} has {score:.2f} (margin {margin:g})"
    )
    return Stop(epoch, epochs, best, most, reason)
