"""The work of a stage in steps and images, which a rate turns into seconds. Pure.

work(spec, images=839)              # Work(steps=63, evaluated=1950, images=252)
Rate(step=0.1, evaluated=0.002, image=0.0).seconds(work(spec, 839))
"""

from dataclasses import dataclass

from trainables.spec import CLASSIFY, IMAGES, PRETEXT, LRPolicy, StageSpec, Training
from trainables.training.lengths import FITTED, PROBED, evaluations
from trainables.training.lr_range import planned, rungs

ATTENDED = 4  # evaluations of an image: explained twice, the region blanked, its outside blanked


@dataclass(frozen=True)
class Work:
    """What one stage does. steps: trained, its LR range included."""

    steps: int
    evaluated: int  # images evaluated or probed, each as often as it is
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


def work(spec: StageSpec, images: int, grown: bool = False) -> Work:
    """Return the work of a stage.

    images: to train on, before `fraction` of the labels is taken. grown: the LR range grows as far
    as it may.
    """
    if (training := spec.training) is None:
        fraction = spec.params.get("fraction")
        return Work(0, 0, round(images * (fraction if isinstance(fraction, float) else 1.0)))
    labelled = round(images * training.fraction)
    more = training.lr.grow if grown else 0
    steps = training.steps + planned(training.lr, training.lr.steps, more)
    if spec.kind == PRETEXT:
        return Work(steps, _probed(training, labelled, more), images)
    return Work(steps, _evaluated(spec, images, labelled, more), labelled)


def _probed(training: Training, labelled: int, more: int) -> int:
    """Return the images that the frozen probes of a stage see, all together.

    BatchNorm is fitted to some of them first.
    """
    judged = _trials(training.lr, more) if training.lr.judge == "probe" else 0
    probes = judged + training.curve + 1 if training.probed else 0  # the start's, too
    return probes * (min(labelled, PROBED) + min(labelled, FITTED))


def _evaluated(spec: StageSpec, images: int, labelled: int, more: int) -> int:
    """Return the images of every evaluation, and validation and test once at the end.

    An evaluation sees the validation images and those that BatchNorm is fitted to. `classify` also
    measures its attention on validation, against a random network that is fitted once.
    """
    known = spec.data[IMAGES].spec if IMAGES in spec.data else None
    val, test = (known.val, known.test) if known else (0.0, 0.0)
    training, whole = spec.trained, images / (1 - val - test)
    often = evaluations(training.steps, labelled, training.global_batch)
    often += _trials(training.lr, more)
    looked, fitted = (ATTENDED, 1) if spec.kind == CLASSIFY else (0, 0)
    seen = round(whole * (val * (often + 1 + looked) + test))
    return seen + min(FITTED, labelled) * often + min(FITTED, images) * fitted


def _trials(policy: LRPolicy, more: int) -> int:
    """Return how often the trials of an LR range are evaluated; more: rates that it grows by."""
    rates = len(policy.range)
    if rates == 1 or policy.name != "halving":
        return rates + more if rates > 1 else 0
    left = [left for _, left in rungs(rates, policy.steps)]
    return rates + sum(left[:-1]) + more
