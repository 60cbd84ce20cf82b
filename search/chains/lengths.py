"""How long a stage is, in optimiser steps, by the number of images. Pure.

steps_of({1000: 3000, 5000: 10_000}, None, images=2200)     # 5,413
trial_of(None, steps=8000)                                  # 800
"""

from bisect import bisect
from collections.abc import Mapping
from math import exp, log
from typing import TypeAlias

PUBLISHED = "published"  # in place of a profile's steps: the task's own table
FROM_SCRATCH = 4  # times a task's table, which is for a backbone that has learnt before
SHORT = 2000  # steps; what a shorter stage teaches is within the noise of its score
TOO_SHORT = "too short to matter"
SETTINGS = "profile.steps", "profile.downstream_steps"
FEWEST, FRACTION = 500, 1 / 10  # of a trial of a learning rate: steps, of the whole run
Table: TypeAlias = Mapping[int, int]  # number of images -> steps


def steps_of(given: int | Table | str, own: Table | None, images: int) -> int:
    """Return the steps of a length. own: the table of a task, for `published`.

    Between a table's numbers of images both axes are logarithmic; beyond its ends it is flat.
    """
    chosen = own if isinstance(given, str) else given
    assert chosen is not None, "refused by search/space/checks.py"
    return chosen if isinstance(chosen, int) else _interpolated(chosen, images)


def _interpolated(table: Table, images: int) -> int:
    known = sorted(table)
    place = bisect(known, images)
    if place in (0, len(known)):
        return table[known[max(place - 1, 0)]]
    low, high = known[place - 1], known[place]
    part = log(images / low) / log(high / low)
    return round(exp((1 - part) * log(table[low]) + part * log(table[high])))


def words(given: int | Table | str) -> str:
    """Return a profile's length in words."""
    if isinstance(given, Mapping):
        return ", ".join(f"{steps:,} at {images:,} images" for images, steps in given.items())
    return f"{given:,}" if isinstance(given, int) else given


def too_short(
    stages: Mapping[str, int], tuned: Mapping[str, int], settings: tuple[str, str] = SETTINGS
) -> tuple[str, ...]:
    """Return a line on the pretext stages below SHORT, and one on the fine-tunings; by name.

    settings: what lengthens them.
    """
    lines = []
    for steps, setting in zip((stages, tuned), settings, strict=True):
        if few := ", ".join(f"{name} {n:,}" for name, n in steps.items() if n < SHORT):
            lines.append(f"{TOO_SHORT} (under {SHORT:,} steps): {few}; raise {setting}")
    return tuple(lines)


def trial_of(given: int | None, steps: int) -> int:
    """Return the steps of one learning rate's trial in a stage of `steps` steps."""
    return min(steps, given or max(FEWEST, round(steps * FRACTION)))


def tells(trial: int, steps: int) -> bool:
    """Return whether trials of `trial` steps tell which rate is best for a stage of `steps`."""
    return trial >= min(FEWEST, FRACTION * max(steps, SHORT))
