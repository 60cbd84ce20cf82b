"""Early stopping: end a fine-tuning whose plausible end is behind the leader. Pure.

    noise = training_noise({"scratch": {0: 49.0, 1: 50.5, 2: 48.1}, "imagenet": {...}})
    judge(41.0, 4, 10, curves, ("moco", 62.3), noise, 3.0, objective)
    screen(hint, 10, ("moco", 62.3), noise, 3.0, objective)

A curve is the merit of the objective on validation (see `Measure`) after each evaluation of a
fine-tuning's full run. `scheduler.py` has curves and scores, `engine.py` asks after each,
and once before the first, when the probe is known.

The last evaluation is the score, so the ceiling is of that one: the value now plus the largest gain
of a finished curve from this evaluation to its last, which may be negative. Of n + 1 curves of one
kind, the new one gains the most in one of n + 1 cases; in these alone its end is above the ceiling.

The leader is the best of several scores, so it is too high; with 3 standard deviations a chain that
is truly its equal is stopped in at most 1.5 % of cases (tests/benchmarks/early_stopping.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from statistics import variance

from search.chains.seeds import Key, Scores, residuals
from trainables.spec import MeasureType

CURVES = 3  # finished curves needed to judge how much another may still gain
GRACE = 1 / 3  # fraction of the epochs in which nothing is stopped


@dataclass(frozen=True)
class Stop:
    """A fine-tuning ended early. best: its objective then; ceiling: the best it could end at.

    epoch: 0 if it was not begun; `best` is then what the probe predicts. deviations: how many of
    training noise were asked for.
    """

    epoch: int
    epochs: int  # of the whole run
    best: float
    ceiling: float
    reason: str
    deviations: float


@dataclass(frozen=True)
class Noise:
    """The sd of a score between trainings of one chain, with its degrees of freedom."""

    sd: float
    degrees: int

    def corrected(self, deviations: float) -> float:
        """Return the sd, larger by Student's t: as unlikely to be exceeded `deviations` times."""
        from scipy.special import ndtr, stdtrit  # slow to import

        return self.sd * abs(float(stdtrit(self.degrees, ndtr(-deviations)))) / deviations

    def __str__(self) -> str:
        return f"sd {self.sd:.2f}, degrees of freedom {self.degrees}"


def training_noise(scores: Mapping[Key, Scores]) -> Noise | None:
    """Return the noise by the chains and starts that have several seeds; None without any.

    scores: by seed. If the seeds' common effects cannot be told from noise, they count as noise. No
    spread at all is no estimate: a network that learns nothing scores the same every time.
    """
    squares, degrees = residuals(scores)
    if not degrees:
        several = [list(known.values()) for known in scores.values() if len(known) > 1]
        degrees = sum(len(values) - 1 for values in several)
        squares = sum(variance(values) * (len(values) - 1) for values in several)
    return Noise(sqrt(squares / degrees), degrees) if degrees and squares > 0 else None


def ceiling(value: float, epoch: int, curves: Sequence[Sequence[float]]) -> float:
    """Return the value now plus the largest gain of a finished curve from here to its end."""
    return value + max(curve[-1] - curve[:epoch][-1] for curve in curves)


def judge(
    value: float,
    epoch: int,
    epochs: int,
    curves: Sequence[Sequence[float]],
    leader: tuple[str, float],
    noise: Noise,
    deviations: float,
    objective: MeasureType,
) -> Stop | None:
    """Return a Stop if the ceiling is below the leader by more than noise explains, else None.

    value, curves: merits; leader: (chain, merit). deviations: of the difference of two trainings.
    """
    if len(curves) < CURVES or not GRACE * epochs < epoch < epochs:
        return None
    most, margin = ceiling(value, epoch, curves), sqrt(2) * deviations * noise.corrected(deviations)
    name, score = leader
    if most + margin >= score:
        return None
    value, most, score = map(objective.merit, (value, most, score))
    reason = (
        f"after evaluation {epoch} of {epochs} at {value:.2f}: ends at best at {most:.2f} by the "
        f"gains of the other curves, {name} has {score:.2f}; noise explains {margin:.2f} "
        f"(training noise: {noise}; early_stop={deviations:g})"
    )
    return Stop(epoch, epochs, value, most, reason, deviations)


def screen(
    hint: tuple[float, float],
    epochs: int,
    leader: tuple[str, float],
    noise: Noise,
    deviations: float,
    objective: MeasureType,
) -> Stop | None:
    """Return a Stop if what the probe predicts is too far below the leader, else None.

    hint: merit and sd of one training. The leader's own noise is at most that sd, which contains
    the noise of a training.
    """
    value, sd = hint
    most = value + deviations * hypot(sd, min(sd, noise.corrected(deviations)))
    name, score = leader
    if most >= score:
        return None
    value, most, score = map(objective.merit, (value, most, score))
    reason = (
        f"before fine-tuning: its probe predicts {value:.2f} (sd {sd:.2f}), at best {most:.2f} "
        f"with training noise ({noise}; early_stop={deviations:g}), {name} has {score:.2f}"
    )
    return Stop(0, epochs, value, most, reason, deviations)
