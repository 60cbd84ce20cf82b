"""The budget of a search: stages, wall time of one command, or GPU-hours.

    Budget.parse("8h")                      # also 20 (stages), 90s, 90m, 2d, 12gpuh
    meter = Meter(budget, time.monotonic())
    meter.spent()                           # "" until "the budget of 8 h is spent"

The policy keeps a budget of stages. Time is metered here: once it is spent, running jobs are
finished and no new work starts.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from trainables.errors import UserError
from trainables.schema import shown

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MOST = 1e9


@dataclass(frozen=True)
class Budget:
    """A limit of one of three kinds, or none. text: for messages."""

    stages: int | None = None
    seconds: float | None = None  # wall time from the command's start
    gpu_hours: float | None = None  # leased to worker groups by this command
    text: str = ""

    @classmethod
    def parse(cls, given: object) -> "Budget":
        """Read a user's value; UserError, one line, if it is invalid."""
        if given is None or isinstance(given, Budget):
            return given or cls()
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *(s|m|h|d|gpuh|)", str(given).strip().lower())
        if found is None or not 0 < float(found[1]) <= MOST or ("." in found[1] and not found[2]):
            raise UserError(
                f"budget={shown(given)}: must be whole stages (20), wall time (90s, 90m, 8h, "
                "2d) or GPU-hours (12gpuh), above 0; try 20"
            )
        number, unit = float(found[1]), found[2]
        if unit == "gpuh":
            return cls(gpu_hours=number, text=f"{number:g} GPU-hours")
        if unit:
            return cls(seconds=number * SECONDS[unit], text=f"{number:g} {unit}")
        return cls(stages=int(number), text=f"{found[1]} stages")

    @property
    def worker_seconds(self) -> float | None:
        """Training seconds of one worker on one GPU, or on a machine without; None: no limit."""
        return self.seconds if self.gpu_hours is None else self.gpu_hours * 3600

    def __str__(self) -> str:
        return self.text


class Meter:
    """Measures how much of a budget of time is spent.

    gpus: GPUs of one worker group. leased: returns the seconds of all leases.
    """

    def __init__(
        self, budget: Budget, started: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.budget, self.started, self.clock = budget, started, clock
        self.gpus = 0.0
        self.leased: Callable[[], float] = float

    def elapsed(self) -> float:
        """Return the seconds since the command started."""
        return self.clock() - self.started

    def spent(self) -> str:
        """Return why no new work may start; "" while it may."""
        return f"the budget of {self.budget} is spent" if self.fraction() >= 1 else ""

    def left(self) -> float | None:
        """Return the seconds until it is spent at the pace so far; None if that is unknown."""
        used = self.fraction()
        return max(0.0, self.elapsed() * (1 - used) / used) if used else None

    def fraction(self) -> float:
        """Return the fraction of the time budget used; 0 for a budget of stages."""
        if self.budget.seconds is not None:
            return self.elapsed() / self.budget.seconds
        if self.budget.gpu_hours is not None:
            return self.leased() * self.gpus / 3600 / self.budget.gpu_hours
        return 0.0
