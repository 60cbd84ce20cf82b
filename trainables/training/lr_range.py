"""The LR policy: which of the range's rates is trained in full.

    rate = POLICIES["halving"](policy, steps, advance, drop)

Every rate starts from the same weights, on the same batches, with a schedule of `steps` steps:
- halving: at every rung the better two thirds go on, until at the end one is left (successive
  halving, Jamieson & Talwalkar, 2016, with a gentle factor and late rungs: of short runs the low
  rates look best, and a half at a quarter of the steps chose another rate in 3 of 10 stages);
- full_range: all run to the end, the best score wins;
- optuna: as many rates as the range has, proposed by TPE between its ends, run to the end.

A rate that diverged loses. A winner on the edge of the range is flagged, since the best rate may
lie outside it.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trainables.errors import StageFailed
from trainables.spec import LRPolicy

if TYPE_CHECKING:
    import optuna

FACTOR = 1.5  # halving: of the rates at a rung, one in so many goes on
RUNGS = (1 / 4, 5 / 8, 1.0)  # halving: the last ones, as shares of the steps; before, half of that
Advance = Callable[[float, int], float]  # train this rate until that step -> score, -inf if failed
Drop = Callable[[float], None]  # forget what is needed only to go on with this rate


def halving(policy: LRPolicy, steps: int, advance: Advance, drop: Drop) -> float:
    alive = list(policy.range)
    for until, left in rungs(len(alive), steps):
        scores = {rate: advance(rate, until) for rate in alive}
        ranked = sorted(alive, key=lambda rate: (-scores[rate], rate))
        alive = sorted(ranked[:left])
        for rate in ranked[left:]:
            drop(rate)
    drop(alive[0])
    return alive[0]


def rungs(rates: int, steps: int) -> list[tuple[int, int]]:
    """The steps at which rates are left behind, and how many go on; divergence shows from two."""
    alive: list[int] = []
    while rates > 1:
        rates = round(rates / FACTOR)
        alive.append(rates)
    shares = [RUNGS[0] / 2**k for k in range(len(alive) - len(RUNGS), 0, -1)] + [*RUNGS]
    places = shares[len(shares) - len(alive) :]
    until = [min(steps, max(2, round(steps * share))) for share in places]
    return list(zip(until, alive, strict=True))


def full_range(policy: LRPolicy, steps: int, advance: Advance, drop: Drop) -> float:
    scores = {}
    for rate in policy.range:
        scores[rate] = advance(rate, steps)
        drop(rate)
    return max(sorted(scores), key=scores.__getitem__)


def by_optuna(policy: LRPolicy, steps: int, advance: Advance, drop: Drop) -> float:
    """The middle of the range first, then what TPE proposes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    low, high = policy.range[0], policy.range[-1]
    scores: dict[float, float] = {}
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=2)
    )
    study.enqueue_trial({"lr": math.sqrt(low * high)})

    def objective(trial: "optuna.Trial") -> float:
        rate = float(f"{trial.suggest_float('lr', low, high, log=True):.3g}")
        scores[rate] = advance(rate, steps)
        drop(rate)
        return max(scores[rate], -1e9)  # Optuna takes no infinity for a score

    study.optimize(objective, n_trials=len(policy.range))
    return max(sorted(scores), key=scores.__getitem__)


POLICIES: dict[str, Callable[[LRPolicy, int, Advance, Drop], float]] = {
    "halving": halving,
    "full_range": full_range,
    "optuna": by_optuna,
}


def planned(policy: LRPolicy, steps: int) -> int:
    """Steps that the policy trains in all, if no rate fails."""
    rates = len(policy.range)
    if rates == 1:
        return 0
    if policy.name != "halving":
        return rates * steps
    done, total = 0, 0
    for until, left in rungs(rates, steps):
        total += rates * (until - done)
        rates, done = left, until
    return total


def refuse_all_failed(reasons: dict[float, str]) -> None:
    """StageFailed if no rate of the range could be trained."""
    if reasons and all(reasons.values()):
        rates = ", ".join(f"{rate:g}" for rate in reasons)
        first = next(iter(reasons.values()))
        raise StageFailed(f"every rate of the range failed ({rates}): {first}")


def at_edge(rate: float, rates: Sequence[float]) -> bool:
    """On an end of the range, or within one per cent of it."""
    return len(rates) > 1 and not rates[0] * 1.01 < rate < rates[-1] / 1.01
