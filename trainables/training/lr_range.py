"""LR policies: choose the learning rate of the range that is trained in full.

    rate = POLICIES["halving"](policy, steps, advance, forget)

Every rate starts from the same weights, on the same batches, with a schedule of `steps` steps:
- halving: at every rung the better two thirds continue, until one is left (successive halving,
  Jamieson & Talwalkar, 2016, with a gentle factor and late rungs: short runs favour low rates, and
  keeping half at a quarter of the steps chose a different rate in 3 of 10 stages);
- full_range: all rates run to the end and the best score wins;
- optuna: TPE proposes as many rates as the range has, between its ends; all run to the end.

A rate that diverged loses. A winner on the edge of the range is flagged, because the best rate may
lie outside it. Every policy takes `steps`, the length of a trial, `advance`, which trains a rate
until a step and returns its score (-inf if it failed), and `forget`, which frees a rate's state.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from trainables.errors import StageFailed
from trainables.spec import LRPolicy

FACTOR = 1.5  # halving: one in FACTOR rates continues at a rung
RUNGS = (1 / 4, 5 / 8, 1.0)  # halving: the last rungs, fractions of the steps; earlier ones halve
Advance = Callable[[float, int], float]
Forget = Callable[[float], None]


def halving(policy: LRPolicy, steps: int, advance: Advance, forget: Forget) -> float:
    alive = list(policy.range)
    for until, left in rungs(len(alive), steps):
        scores = {rate: advance(rate, until) for rate in alive}
        ranked = sorted(alive, key=lambda rate: (-scores[rate], rate))
        alive = sorted(ranked[:left])
        for rate in ranked[left:]:
            forget(rate)
    forget(alive[0])
    return alive[0]


def rungs(rates: int, steps: int) -> list[tuple[int, int]]:
    """Return (step, rates that continue) of every rung; divergence shows from step 2 on."""
    alive: list[int] = []
    while rates > 1:
        rates = round(rates / FACTOR)
        alive.append(rates)
    fractions = [RUNGS[0] / 2**k for k in range(len(alive) - len(RUNGS), 0, -1)] + [*RUNGS]
    places = fractions[len(fractions) - len(alive) :]
    until = [min(steps, max(2, round(steps * fraction))) for fraction in places]
    return list(zip(until, alive, strict=True))


def full_range(policy: LRPolicy, steps: int, advance: Advance, forget: Forget) -> float:
    scores = {}
    for rate in policy.range:
        scores[rate] = advance(rate, steps)
        forget(rate)
    return max(sorted(scores), key=scores.__getitem__)


def by_optuna(policy: LRPolicy, steps: int, advance: Advance, forget: Forget) -> float:
    """Try the middle of the range first, then the rates that TPE proposes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    low, high = policy.range[0], policy.range[-1]
    scores: dict[float, float] = {}
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=2)
    )
    study.enqueue_trial({"lr": math.sqrt(low * high)})

    def objective(trial: Any) -> float:
        rate = float(f"{trial.suggest_float('lr', low, high, log=True):.3g}")
        scores[rate] = advance(rate, steps)
        forget(rate)
        return max(scores[rate], -1e9)  # Optuna refuses an infinite score

    study.optimize(objective, n_trials=len(policy.range))
    return max(sorted(scores), key=scores.__getitem__)


POLICIES: dict[str, Callable[[LRPolicy, int, Advance, Forget], float]] = {
    "halving": halving,
    "full_range": full_range,
    "optuna": by_optuna,
}


def planned(policy: LRPolicy, steps: int) -> int:
    """Return how many steps the policy trains in total if no rate fails."""
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
    """Raise StageFailed if no rate of the range could be trained."""
    if reasons and all(reasons.values()):
        rates = ", ".join(f"{rate:g}" for rate in reasons)
        first = next(iter(reasons.values()))
        raise StageFailed(f"every rate of the range failed ({rates}): {first}")


def at_edge(rate: float, rates: Sequence[float]) -> bool:
    """Return whether the rate is within one per cent of an end of the range."""
    return len(rates) > 1 and not rates[0] * 1.01 < rate < rates[-1] / 1.01
