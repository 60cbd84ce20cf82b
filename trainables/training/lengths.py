"""Epochs and evaluations of a training that is measured in steps. Pure; no torch."""

from math import ceil

FITTED = 512  # images that BatchNorm's statistics are fitted to before an evaluation
PROBED = 1000  # labelled images, about, that a backbone in training is probed with
EVALUATIONS = 20  # of a fine-tuning, evenly spread; one an epoch where there are fewer epochs


def epoch_steps(images: int, batch: int) -> float:
    """Return the steps of an epoch: whole batches, or the fraction of one that the images fill."""
    return images // batch or images / batch


def period(steps: int, images: int, batch: int) -> int:
    """Return the steps from one evaluation of a run to the next; the last comes at its end."""
    return max(1, int(epoch_steps(images, batch)), ceil(steps / EVALUATIONS))


def evaluations(steps: int, images: int, batch: int) -> int:
    """Return how often a run is evaluated."""
    return ceil(steps / period(steps, images, batch))
