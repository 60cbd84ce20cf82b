"""Early stopping: does a chain whose fine-tuning is under way still have a chance of being best?

    ceiling(41.0, 4, curves)                            # 46.5: 5.5 is the most any curve gained yet
    judge(41.0, 4, 10, curves, ("moco", 52.3), 2.0)     # a Stop: 46.5 + 2.0 is below 52.3

A curve is the validation balanced accuracy, in percent, after each epoch of a fine-tuning's full
run. Pure; `questions.py` knows the curves, `tuning.py` asks for every epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainables.spec import Score

CURVES = 3  # finished ones that it takes to know how much a curve may still gain
GRACE = 1 / 3  # of the epochs, in which nothing is stopped


@dataclass(frozen=True)
class Stop:
    """A fine-tuning that was ended. best: its highest point; ceiling: the most it could reach."""

    epoch: int
    epochs: int  # of the whole run
    best: float
    ceiling: float
    reason: str

    def score(self) -> Score:
        """For the policy, which may well extend the chain: the score lies in this interval."""
        return Score(self.best, self.best, self.ceiling)


def ceiling(best: float, epoch: int, curves: Sequence[Sequence[float]]) -> float:
    """The best so far plus the most that any finished curve gained after this epoch."""
    return best + max(max(curve) - max(curve[:epoch]) for curve in curves)


def judge(
    best: float,
    epoch: int,
    epochs: int,
    curves: Sequence[Sequence[float]],
    incumbent: tuple[str, float],
    margin: float,
) -> Stop | None:
    """A Stop if the ceiling with the margin, in points, is below the incumbent's score."""
    if len(curves) < CURVES or not GRACE * epochs < epoch < epochs:
        return None
    most = ceiling(best, epoch, curves)
    name, score = incumbent
    if most + margin >= score:
        return None
    reason = (
        f"after epoch {epoch} of {epochs} at {best:.2f}: at most {most:.2f} by the gains of the "
        f"other curves, {name} has {score:.2f} (margin {margin:g})"
    )
    return Stop(epoch, epochs, best, most, reason)
