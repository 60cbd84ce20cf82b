"""LR policies: choose the learning rate of the range that is trained in full.

    rate = choose(policy, steps, advance, forget)

Every rate starts from the same weights, on the same batches, and stays at its peak after warm-up:
- halving: at every rung the better two thirds continue, until one is left (successive halving,
  Jamieson & Talwalkar, 2016, with a gentle factor and late rungs: short runs favour low rates, and
  keeping half at a quarter of the steps chose a different rate in 3 of 10 stages);
- full_range: all rates run to the end and the best score wins;
- optuna: TPE proposes as many rates as the range has, between its ends; all run to the end.

A rate that diverged loses, also to one that did not continue. If the winner is at an end of the
range, the range grows on that side by its own factor, by at most `policy.grow` rates, while the
further rate is better. A winner at the edge of all that was tried is flagged. Every policy takes
`steps`, the length of a trial, `advance`, which trains a rate until a step and returns its score
(-inf if it failed), and `forget`, which frees a rate's state. It returns the best rate and its
score after `steps`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trainables.errors import StageFailed
from trainables.spec import LRPolicy

FACTOR = 1.5  # halving: one in FACTOR rates continues at a rung
FIRST = 1 / 4  # halving: the first of three rungs or more, a fraction of the steps
Advance = Callable[[float, int], float]
Forget = Callable[[float], None]
Best = tuple[float, float]  # a rate and its score


def choose(policy: LRPolicy, steps: int, advance: Advance, forget: Forget) -> float:
    """Return the best rate of the range, grown where its end is the best."""
    rate, score = POLICIES[policy.name](policy, steps, advance, forget)
    rates = policy.range
    for _ in range(policy.grow):
        further = beyond(rate, rates)
        if further is None or score == -math.inf:
            break
        found = advance(further, steps)
        forget(further)
        rates = tuple(sorted((*rates, further)))
        if found <= score:
            break
        rate, score = further, found
    return rate


def halving(policy: LRPolicy, steps: int, advance: Advance, forget: Forget) -> Best:
    alive, last = list(policy.range), dict[float, float]()  # last: the latest score of each
    for until, left in rungs(len(alive), steps):
        scores = {rate: advance(rate, until) for rate in alive}
        last |= scores
        ranked = sorted(alive, key=lambda rate: (-scores[rate], rate))
        alive = sorted(ranked[:left])
        for rate in ranked[left:]:
            forget(rate)
    forget(alive[0])
    score = last[alive[0]]
    return (alive[0], score) if score > -math.inf else (_best(last)[0], score)


def rungs(rates: int, steps: int) -> list[tuple[int, int]]:
    """Return (step, rates that continue) of every rung; divergence shows from step 2 on."""
    alive: list[int] = []
    while rates > 1:
        rates = round(rates / FACTOR)
        alive.append(rates)
    places = np.linspace(FIRST, 1, max(len(alive), 3))[-len(alive) :] if alive else ()
    until = [min(steps, max(2, round(steps * fraction))) for fraction in places]
    return list(zip(until, alive, strict=True))


def full_range(policy: LRPolicy, steps: int, advance: Advance, forget: Forget) -> Best:
    scores = {}
    for rate in policy.range:
        scores[rate] = advance(rate, steps)
        forget(rate)
    return _best(scores)


def by_optuna(policy: LRPolicy, steps: int, advance: Advance, forget: Forget) -> Best:
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
    return _best(scores)


def _best(scores: dict[float, float]) -> Best:
    """Return the rate with the highest score, the lowest of equals."""
    rate = max(sorted(scores), key=scores.__getitem__)
    return rate, scores[rate]


POLICIES: dict[str, Callable[[LRPolicy, int, Advance, Forget], Best]] = {
    "halving": halving,
    "full_range": full_range,
    "optuna": by_optuna,
}


def beyond(rate: float, rates: Sequence[float]) -> float | None:
    """Return the next rate outside the range on the side of `rate`; None if that is inside."""
    if not at_edge(rate, rates):
        return None
    factor = (rates[-1] / rates[0]) ** (1 / (len(rates) - 1))
    upwards = rate > math.sqrt(rates[0] * rates[-1])
    return float(f"{rates[-1] * factor if upwards else rates[0] / factor:.3g}")


def planned(policy: LRPolicy, steps: int, more: int = 0) -> int:
    """Return how many steps the policy trains in total if no rate fails.

    more: rates by which the range grows.
    """
    rates = len(policy.range)
    if rates == 1:
        return 0
    if policy.name != "halving":
        return (rates + more) * steps
    done, total = 0, more * steps
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
