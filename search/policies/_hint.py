"""What a probe says of a fine-tuning: a regression over the chains that have both. Pure.

predict(31.0, probes, merits)    # Hint(value=44.2, sd=2.9)
"""

from collections.abc import Sequence
from math import sqrt
from statistics import StatisticsError, fmean, linear_regression
from typing import NamedTuple

FEWEST = 5  # chains with both


class Hint(NamedTuple):
    """A merit as the probe predicts it; sd: of one training around it."""

    value: float
    sd: float


def predict(probe: float, probes: Sequence[float], merits: Sequence[float]) -> Hint | None:
    """Return the prediction; None if all probes are equal.

    probes, merits: of FEWEST chains or more. The sd is that of Student's t: few chains widen it.
    """
    try:
        slope, start = linear_regression(probes, merits)
    except StatisticsError:
        return None
    count, degrees, centre = len(probes), len(probes) - 2, fmean(probes)
    squares = sum((y - start - slope * x) ** 2 for x, y in zip(probes, merits, strict=True))
    away = (probe - centre) ** 2 / sum((x - centre) ** 2 for x in probes)
    variance = squares / degrees * (1 + 1 / count + away)
    return Hint(start + slope * probe, sqrt(variance * degrees / (degrees - 2)))
