"""The work of a stage in steps and images, which a rate turns into seconds. Pure.

work(spec, images=839)              # Work(steps=63, evaluated=1950, images=252)
Rate(step=0.1, evaluated=0.002, image=0.0).seconds(work(spec, 839))
"""

from dataclasses import dataclass

from trainables.spec import IMAGES, PRETEXT, LRPolicy, StageSpec
from trainables.training.lengths import evaluations
from trainables.training.lr_range import planned, rungs


@dataclass(frozen=True)
class Work:
    """What one stage does. steps: trained, its LR range included."""

    steps: int
    evaluated: int  # images evaluated on validation and test, again after every evaluation
    images: int  # images that the stage sees


@dataclass(frozen=True)
class Rate:
    """Seconds a step, an evaluated image, and an image once a stage; of one worker group."""

    step: float
    evaluated: float
    image: float

    def seconds(self, work: Work) -> float:
        parts = (self.step * work.steps, self.evaluated * work.evaluated, self.image * work.images)
        return sum(parts)


def work(spec: StageSpec, images: int) -> Work:
    """Return the work of a stage. images: to train on, before `fraction` of the labels is taken."""
    if (training := spec.training) is None:
        fraction = spec.params.get("fraction")
        return Work(0, 0, round(images * (fraction if isinstance(fraction, float) else 1.0)))
    count = round(images * training.fraction)
    steps = training.steps + planned(training.lr, training.lr.steps)
    return Work(steps, 0 if spec.kind == PRETEXT else _evaluated(spec, images), count)


def _evaluated(spec: StageSpec, images: int) -> int:
    """Return validation images times evaluations, and both parts once at the end."""
    known = spec.data[IMAGES].spec if IMAGES in spec.data else None
    val, test = (known.val, known.test) if known else (0.0, 0.0)
    training, whole = spec.trained, images / (1 - val - test)
    often = evaluations(training.steps, round(images * training.fraction), training.global_batch)
    return round(whole * (val * (often + _trials(training.lr) + 1) + test))


def _trials(policy: LRPolicy) -> int:
    """Return how often the trials of an LR range are evaluated."""
    rates = len(policy.range)
    if rates == 1 or policy.name != "halving":
        return rates if rates > 1 else 0
    left = [left for _, left in rungs(rates, policy.steps)]
    return rates + sum(left[:-1])
